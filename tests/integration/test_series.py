"""A table with a column of sensor series, from cells to answers."""

from __future__ import annotations

import json

import numpy as np
from tests.conftest import QUICK

import omnifuse


def machines(count, *, seed=0):
    """A machine that hums or rattles: the rattle swings quicker; forms of the cell take turns."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        state = ("hums", "rattles")[number % 2]
        size = int(draw.integers(30, 60))
        times = np.cumsum(draw.uniform(0.05, 0.15, size))
        swing = np.sin(times * (2 if state == "hums" else 20)) * 3 + draw.normal(0, 0.3, size)
        heat = 40 + draw.normal(0, 1, size)
        heat[draw.random(size) < 0.2] = np.nan
        known = [None if np.isnan(value) else float(value) for value in heat]
        cell = {"time": times.tolist(), "swing": swing.tolist(), "heat": known}
        rows.append({"run": cell if number % 3 else json.dumps(cell), "load": float(draw.normal()), "state": state})
    return rows


def test_series_are_inferred_learnt_and_answered_with_what_is_wrong_in_words(tmp_path):
    rows = machines(60)
    schema, _ = omnifuse.inspect(rows, label="state")
    assert {item.name: item.modality.value for item in schema.fields} == {"run": "series", "load": "number"}
    model = omnifuse.fit(rows, "state", out=tmp_path / "run", **{**QUICK, "baselines": True})
    again = omnifuse.load(tmp_path / "run")
    asked = machines(8, seed=1)
    late = asked[1]["run"]
    late["time"][3], late["time"][4] = late["time"][4], late["time"][3]
    asked[2]["run"], asked[3]["run"] = None, "[1, 2"
    answers = again.predict(asked, proba=True)
    assert [answer.modalities_used for answer in answers[:4]] == [
        ("run", "table"),
        ("run", "table"),
        ("table",),
        ("table",),
    ]
    assert answers[0].warnings == answers[2].warnings == ()
    assert answers[1].warnings == (
        "run: 1 of {} steps are earlier than the step before and were sorted".format(len(late["time"])),
    )
    assert "is no JSON" in answers[3].warnings[0]
    assert answers == model.predict(asked, proba=True)
    assert set(again.embed(asked)) == {"embedding", "embedding_run", "embedding_table"}
    assert "run: trees" in model.metrics["targets"]["state"]["baselines"]
    findings = omnifuse.inspect(asked, label="state")[1]
    assert {("time_order", "run"), ("broken_media", "run")} <= {(item.kind, item.field) for item in findings}
