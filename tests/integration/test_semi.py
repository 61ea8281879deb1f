"""Rows without a label beside few labelled ones, end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import omnifuse
from omnifuse import InputError

QUICK = {"preset": "tiny", "logger": "none", "report_media": "none", "epochs": 4}


def rows_of(count, *, labelled, seed=0, far=0):
    """Two clouds of two numbers; the last `far` rows lie elsewhere."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind = number % 2
        one, two = draw.normal((2.0 if kind else -2.0, 1.0), 0.7)
        if number >= count - far:
            one, two = draw.normal((0.0, 60.0), 0.5)
        rows.append({"one": f"{one:.4f}", "two": f"{two:.4f}", "kind": "ab"[kind] if number < labelled else None})
    return rows


def fit(rows, out, **options):
    return omnifuse.fit(rows, "kind", out=out / "run", **{**QUICK, "baselines": False, **options})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return fit(rows_of(60, labelled=20), tmp_path_factory.mktemp("semi"), semi=True)


def test_both_models_are_reported(model):
    found = model.manifest["unlabelled"]
    assert found["rows"] + found["foreign"] == 40
    assert set(found["loss"]) == {"with unlabelled rows", "labelled rows only"}
    assert found["ships"] == min(found["loss"], key=found["loss"].get)
    others = {"with unlabelled rows", "labelled rows only"} - {found["ships"]}
    assert others <= set(model.metrics["targets"]["kind"]["baselines"])
    assert model.metrics["rows"] == 20


def test_it_answers_like_any_model(model):
    answers = model.predict(rows_of(40, labelled=40, seed=5))
    right = [a.targets["kind"].value == row["kind"] for a, row in zip(answers, rows_of(40, labelled=40, seed=5),
                                                                      strict=True)]  # fmt: skip
    assert np.mean(right) >= 0.8


def test_rows_of_another_table_are_used_and_foreign_ones_named(tmp_path):
    rows = rows_of(60, labelled=20)
    heard = []
    model = fit(
        rows[:20], tmp_path, unlabelled=rows_of(40, labelled=0, seed=3, far=6),
        progress=lambda kind, data: heard.append(data.get("text", "")),
    )  # fmt: skip
    found = model.manifest["unlabelled"]
    assert found["foreign"] >= 6
    note = next(text for text in heard if "left out" in text)
    for number in range(35, 41):
        assert f"row {number} of the unlabelled table" in note or note.rstrip(".").endswith("...")


def test_one_seed_gives_one_model(tmp_path):
    rows = rows_of(40, labelled=20)
    first, again = (fit(rows, tmp_path / name, semi=True, epochs=1).network.state_dict() for name in "ab")
    assert all(torch.equal(value, again[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"semi": True}, "no readable rows without a label"),
        ({"semi": True, "curve": True}, "--semi and --curve were both given"),
        ({"semi": True, "fusion": "concat,gated"}, "--semi and several fusions"),
        ({"unlabelled": [{"else": 1}]}, "has none of the model's fields"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        fit(rows_of(20, labelled=20), tmp_path, **options)


def test_numbers_are_refused(tmp_path):
    rows = [{"one": n * 0.37 % 5, "two": n % 7 + 0.1, "price": n * 1.37 if n < 20 else None} for n in range(30)]
    with pytest.raises(InputError, match="'price' is regression"):
        omnifuse.fit(rows, "price", out=tmp_path / "run", semi=True, baselines=False, **QUICK)


def test_the_command_line(tmp_path, capsys):
    from omnifuse.cli.main import run

    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows_of(30, labelled=16)))
    with pytest.raises(SystemExit) as end:
        run(["fit", str(table), "--label", "kind", "--semi", "--out", str(tmp_path / "run"), "--preset", "tiny",
             "--epochs", "1", "--logger", "none", "--no-baselines", "--json"])  # fmt: skip
    assert end.value.code == 0
    assert "loss" in json.loads(capsys.readouterr().out)["unlabelled"]
