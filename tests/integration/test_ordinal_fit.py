"""Levels from a table to answers, measures and the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.conftest import QUICK, plain_rows

import omnifuse
from omnifuse.errors import InputError

LEVELS = ("tiny", "fair", "huge")


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    rows = plain_rows(60, holes=0.1)
    for row in rows:
        price = float(row["price"])
        row["level"] = LEVELS[0 if price < -4 else 2 if price > 4 else 1]
    rows[5]["level"] = None
    run = tmp_path_factory.mktemp("levels") / "run"
    model = omnifuse.fit(
        rows,
        "level",
        out=run,
        tasks={"level": "ordinal:" + "<".join(LEVELS)},
        drop=("key", "kind", "tags", "price", "when", "colour", "weight"),
        **QUICK | {"epochs": 4, "baselines": True},
    )
    return model, run, rows


def test_scores_subsets_and_baselines(fit):
    model, run, _ = fit
    result = model.metrics["targets"]["level"]
    assert result["task"] == "ordinal"
    names = ["quadratic_weighted_kappa", "mean_absolute_error", "accuracy", "balanced_accuracy", "log_loss"]
    assert list(result["metrics"]) == names
    assert {"note", "table"} <= set(result["subsets"])
    assert {"majority", "table", "table: trees", "all fields: trees"} <= set(result["baselines"])
    assert result["metrics"]["quadratic_weighted_kappa"]["value"] > 0.5
    assert result["baselines"]["majority"]["quadratic_weighted_kappa"]["value"] == pytest.approx(0, abs=1e-9)
    assert result["fusion"]["metric"] == "quadratic_weighted_kappa"
    assert 0 <= result["calibration"]["ece"] <= 1
    page = (run / "report" / "report.html").read_text()
    assert "Quadratic weighted kappa" in page
    assert "Confusion" in page


def test_answers_are_levels_with_probabilities_and_survive_saving(fit):
    model, run, rows = fit
    assert model.schema.targets[0].classes == LEVELS
    answers = model.predict(rows[:8], proba=True)
    for answer in answers:
        found = answer.targets["level"]
        assert list(found.probabilities) == list(LEVELS)
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.value == max(found.probabilities, key=found.probabilities.get)
        assert found.confidence == max(found.probabilities.values())
    again = omnifuse.load(run).predict(rows[:8], proba=True)
    assert [answer.targets for answer in again] == [answer.targets for answer in answers]
    assert np.isfinite(model.predict_proba(rows, target="level")).all()
    assert json.loads((run / "model" / "model.json").read_text())["schema"]["targets"][0]["kind"] == "ordinal"


def test_an_unknown_order_is_asked_for(tmp_path, fit):
    _, _, rows = fit
    with pytest.raises(InputError, match=r'order of the levels of .level. is not known.*--task "level=ordinal:fair<'):
        omnifuse.fit(rows, "level", out=tmp_path / "run", tasks={"level": "ordinal"}, **QUICK)
