"""Few labels on a pretrained space, end to end; and classes named by words."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from tests.colour_tones import write_colour_tones

import omnifuse
from omnifuse import InputError

QUICK = {"preset": "tiny", "logger": "none"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return write_colour_tones(folder, 64), write_colour_tones(folder, 40, seed=1, name="test")


@pytest.fixture(scope="module")
def space(world, tmp_path_factory):
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("space") / "run"
    omnifuse.pretrain(world[0], out=run, pairs="photo:tone", drop=["label"], epochs=12, **QUICK)
    return run


@pytest.fixture(scope="module")
def few(world, space, tmp_path_factory):
    out = tmp_path_factory.mktemp("few") / "run"
    return omnifuse.fit(world[0], "label", out=out, start=space, shots=4, epochs=1, seed=3, **QUICK), out


def labels_of(table):
    with open(table, encoding="utf-8") as handle:
        return [row["label"] for row in csv.DictReader(handle)]


def test_few_labels_suffice_where_the_space_knows_the_classes(world, few):
    model, _ = few
    found = model.manifest["shots"]
    assert found["a_class"] == 4
    assert found["rows"] == 16
    assert set(found["log_loss"]) == {"prototypes", "logistic", "tuned"}
    assert found["heads"] == min(found["log_loss"], key=found["log_loss"].get)
    # The 48 rows that were not drawn are scored; by chance a quarter
    target = model.metrics["targets"]["label"]
    assert model.metrics["rows"] == 48
    assert target["metrics"]["accuracy"]["value"] >= 0.75
    assert set(target["baselines"]) >= {"photo", "tone", "majority"}
    answers = [answer.targets["label"].value for answer in omnifuse.load(few[1]).predict(world[1])]
    assert np.mean([a == b for a, b in zip(answers, labels_of(world[1]), strict=True)]) >= 0.75


def test_a_row_of_one_field_is_answered_too(world, few):
    with open(world[1], encoding="utf-8") as handle:
        rows = [{"tone": str(world[1].parent / row["tone"]), "label": row["label"]} for row in csv.DictReader(handle)]
    answers = omnifuse.load(few[1]).predict(rows)
    assert np.mean([a.targets["label"].value == row["label"] for a, row in zip(answers, rows, strict=True)]) >= 0.7


def test_what_embeds_is_what_answers(few):
    for member in omnifuse.load(few[1]).members:
        for part in ("norms", "layers"):
            for name, value in getattr(member.space, part).state_dict().items():
                assert torch.equal(value, getattr(member.fusion, part).state_dict()[name])


def test_few_labels_that_are_there_are_all_used(world, space, tmp_path):
    with open(world[0], encoding="utf-8") as handle:
        rows = [{**row, "photo": str(world[0].parent / row["photo"]), "tone": str(world[0].parent / row["tone"])}
                for row in csv.DictReader(handle)]  # fmt: skip
    for row in rows[12:]:
        row["label"] = None
    model = omnifuse.fit(rows, "label", out=tmp_path / "run", start=space, shots=5, epochs=1, baselines=False, **QUICK)
    assert model.manifest["shots"]["rows"] == 12
    assert "out-of-fold" in model.manifest["data"]["scored_on"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shots": 1}, "--shots is 1.*one row of a class"),
        ({"shots": 4, "start": None}, "--shots learns on the space .* none was given"),
        ({"shots": 4, "curve": True}, "--shots and --curve"),
        ({"shots": 4, "fusion": "concat"}, "--shots and --fusion"),
        ({"shots": 4, "time": "key"}, "--shots and --time"),
        ({"shots": 4, "tasks": {"label": "tagging"}}, "is read as tagging"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(world, space, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        omnifuse.fit(world[0], "label", out=tmp_path / "run", **{"start": space, **options}, **QUICK)
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_space_is_refused(few, world, space, tmp_path):
    plain = omnifuse.fit(world[0], "label", out=tmp_path / "plain", epochs=1, baselines=False, **QUICK)
    assert plain.manifest["spec"]["space"] == 0
    with pytest.raises(InputError, match="has no shared space"):
        omnifuse.fit(world[0], "label", out=tmp_path / "run", start=tmp_path / "plain", shots=4, **QUICK)


def test_the_command_line(world, space, tmp_path, capsys):
    from omnifuse.cli.main import run

    with pytest.raises(SystemExit) as end:
        run(["fit", str(world[0]), "--label", "label", "--from", str(space), "--shots", "3", "--out",
             str(tmp_path / "run"), "--preset", "tiny", "--epochs", "1", "--logger", "none", "--no-baselines",
             "--json"])  # fmt: skip
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["shots"]["rows"] == 12
