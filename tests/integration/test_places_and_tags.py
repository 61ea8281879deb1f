"""Latitude, longitude and tags from a table to an answer: the label needs both."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse import fit, load

TAGS = ("quiet", "loud", "cheap", "new", "old", "green")


def world(count, seed):
    """Label: whether the place lies in one of two towns xor the set holds "loud"."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        in_town = bool(draw.integers(2))
        middle = (
            ((48.1, 11.6), (52.5, 13.4))[draw.integers(2)] if in_town else (50.0 + draw.normal(), 9.0 + draw.normal())
        )
        tags = [tag for tag in TAGS if draw.random() < 0.4]
        label = "yes" if in_town != ("loud" in tags) else "no"
        latitude, longitude = middle[0] + 0.05 * draw.normal(), middle[1] + 0.05 * draw.normal()
        rows.append({"latitude": latitude, "longitude": longitude, "topics": "|".join(tags) or None, "label": label})
    return rows


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory):
    out = tmp_path_factory.mktemp("places") / "run"
    fit(world(160, 0), label="label", out=out, epochs=25, baselines=False, settings={"shallow": "none"})
    return load(out)


def test_the_label_needs_both(model):
    assert [item.name for item in model.schema.inputs] == ["place", "topics"]
    rows = world(100, 1)
    answers = [item.targets["label"].value for item in model.predict(rows)]
    assert np.mean([answer == row["label"] for answer, row in zip(answers, rows, strict=True)]) > 0.75


def test_half_a_place_and_unknown_tags_cost_no_row(model):
    whole = {"latitude": 48.1, "longitude": 11.6, "topics": "loud|never seen"}
    found = model.predict([whole, {**whole, "longitude": None}, {**whole, "latitude": "north"}, {"topics": ["loud"]}])
    assert [item.modalities_used for item in found] == [("place", "topics"), ("topics",), ("topics",), ("topics",)]
    assert not found[0].warnings
    assert "not a place" in found[1].warnings[0]
    assert "not a place" in found[2].warnings[0]
