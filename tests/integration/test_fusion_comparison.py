"""Several fusions in one fit: equal rows and passes, one table with paired intervals, and a model of the one chosen."""

from __future__ import annotations

import json

import markupsafe
import numpy as np
import pytest
from typer.testing import CliRunner

from omnifuse import fit, load
from omnifuse.api import member, members
from omnifuse.api.fusions import FusionRow, _verdict
from omnifuse.api.options import fusion_names
from omnifuse.cli.main import app
from omnifuse.errors import InputError
from omnifuse.fusion import FUSIONS


def rows_of(count=60, seed=0):
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        word, level = draw.integers(2), draw.normal()
        label = "yes" if (word == 1) != (level > 0) else "no"
        rows.append({"note": ("grey cloud over us", "blue sky today too")[word], "level": level, "label": label})
    return rows


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory):
    out = tmp_path_factory.mktemp("fusions") / "run"
    fit(rows_of(), label="label", out=out, fusion="concat,sum,ensemble", epochs=2, seeds=2, baselines=False)
    return load(out)


def test_each_fusion_has_a_row_with_an_interval_against_the_first(model):
    table = model.manifest["fusions"]
    assert (table["target"], table["metric"], table["default"]) == ("label", "accuracy", "concat")
    first, *rest = table["rows"]
    assert first["name"] == "concat"
    assert first["difference"] is None
    assert {row["name"] for row in rest} == {"sum", "ensemble"}
    for row in rest:
        assert row["low"] <= row["difference"] <= row["high"]
        assert 0 < row["p"] <= 1
    assert all(row["sd"] is not None and row["epochs"] == 2 and row["parameters"] > 0 for row in table["rows"])
    assert table["chosen"] in {"concat", "sum", "ensemble"}
    assert model.manifest["spec"]["fusion"] == table["chosen"]


def test_the_report_shows_the_table(model):
    page = (model.folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "Fusions compared" in page
    assert markupsafe.escape(model.manifest["fusions"]["words"]) in page


def test_all_names_every_fusion_and_each_is_trained_saved_and_costed(tmp_path):
    model = fit(
        rows_of(40), label="label", out=tmp_path / "run", fusion="all", epochs=1, baselines=False, logger="none"
    )
    rows = {row["name"]: row for row in model.manifest["fusions"]["rows"]}
    assert next(iter(rows)) == "joint"
    assert set(rows) == {*FUSIONS, "ensemble"}
    assert all(row["flops"] > 0 and row["parameters"] > 0 for row in rows.values())
    assert model.metrics["cost"]["flops"] > 0


def test_an_ensemble_of_fusions_is_saved_and_answers_the_same(tmp_path):
    rows = rows_of()
    model = fit(rows, label="label", out=tmp_path / "run", fusion="ensemble", epochs=1, baselines=False, logger="none")
    kinds = {type(member.fusion).__name__ for member in model.members}
    assert len(kinds) == 5
    found = load(tmp_path / "run").predict_proba(rows[:5])
    np.testing.assert_allclose(found, model.predict_proba(rows[:5]), atol=1e-6)


def test_the_command_prints_the_table(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows_of(40)), encoding="utf-8")
    asked = ["fit", str(path), "--label", "label", "--out", str(tmp_path / "run"), "--fusion", "sum,max"]
    answer = CliRunner().invoke(app, [*asked, "--epochs", "1", "--no-baselines", "--logger", "none"])
    assert answer.exit_code == 0, answer.output
    assert "against sum (95%)" in answer.output
    assert "max" in answer.output


def test_names():
    assert fusion_names("joint") == ("joint",)
    assert fusion_names(" sum, joint") == ("sum", "joint")
    assert fusion_names("all") == (*FUSIONS, "ensemble")
    assert fusion_names("all")[0] == "joint"
    with pytest.raises(InputError, match="joint"):
        fusion_names("sum,jiont")
    with pytest.raises(InputError, match="twice"):
        fusion_names("sum,sum")


def row(name, difference=None, p=None):
    return FusionRow(name, 0.5, None, difference, difference, difference, p, 1, 1.0, 1.0, 1.0)


def test_another_fusion_is_taken_only_where_it_is_surely_better():
    others = [row("sum", 0.02, 0.2), row("max", -0.3, 0.001)]
    assert _verdict(row("joint"), others, 1000)[0] == "joint"
    assert _verdict(row("joint"), [*others, row("gated", 0.05, 0.03)], 1000)[0] == "gated"
    # On few rows the level is stricter
    assert _verdict(row("joint"), [*others, row("gated", 0.05, 0.03)], 150)[0] == "joint"
    assert "No fusion beats joint" in _verdict(row("joint"), others, 1000)[1]
    assert "sum, differs by +0.020" in _verdict(row("joint"), others, 1000)[1]


@pytest.mark.slow
def test_within_a_time_limit_the_shallow_heads_are_fitted_once_for_all_fusions(tmp_path, monkeypatch):
    fitted = []

    def counted(model, *rest):
        fitted.append(model)
        member.fit_shallow(model, *rest)

    monkeypatch.setattr(members, "fit_shallow", counted)
    out = tmp_path / "run"
    made = fit(rows_of(), label="label", out=out, fusion="concat,sum", minutes=0.02, baselines=False, logger="none")
    assert len(fitted) == len(made.network.members)
    assert all(heads for network in made.network.members for heads in network.shallow)
