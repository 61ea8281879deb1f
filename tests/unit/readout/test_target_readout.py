from __future__ import annotations

import json

import numpy as np
import pytest

from omnifuse.readout.raw import RawOutputs, concatenate
from omnifuse.readout.target_readout import (
    SubsetCalibration,
    TargetReadout,
    combine,
    log_softmax,
    sigmoid,
    subset_name,
)
from omnifuse.schema import Target, TaskKind

KIND = Target("y", TaskKind.CLASSIFICATION, ("a", "b", "c"))
TAGS = Target("y", TaskKind.TAGGING, ("a", "b", "c"))
PRICE = Target("y", TaskKind.REGRESSION)


def raw(num_rows=5, width=3, members=2, *, seed=0, present=None) -> RawOutputs:
    draw = np.random.default_rng(seed)
    there = present or {"note": np.ones(num_rows, bool), "photo": np.arange(num_rows) % 2 == 0}
    fields = {name: draw.normal(size=(members, num_rows, width)).astype(np.float32) for name in there}
    for name, rows in there.items():
        fields[name][:, ~rows] = np.nan
    fused = draw.normal(size=(members, num_rows, width)).astype(np.float32)
    return RawOutputs({"y": fused}, {"y": fields}, there)


def softmax(logits):
    shares = np.exp(np.asarray(logits, np.float64))
    return shares / shares.sum(axis=-1, keepdims=True)


def test_softmax_and_sigmoid_without_overflow():
    logits = np.array([[1e4, -1e4, 0.0], [1.0, 2.0, 3.0]])
    assert np.exp(log_softmax(logits)) == pytest.approx(np.array([[1, 0, 0], softmax([1, 2, 3])]))
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1e4, 0.0, 2.0, 1e4])) == pytest.approx([0, 0.5, 1 / (1 + np.exp(-2)), 1])


def test_classification_by_hand_weights_temperature_members_and_subsets():
    outputs = raw()
    by = SubsetCalibration({"fused": 0.5, "note": 0.25, "photo": 0.25}, 2.0)
    readout = TargetReadout(KIND, ("note", "photo"), {"note+photo": by, "note": SubsetCalibration({"note": 1.0}, 0.5)})
    scores = readout.scores(outputs)
    for row in range(5):
        members = []
        for member in range(2):
            fused, note, photo = (
                np.log(softmax(part[member, row]))
                for part in (outputs.fused["y"], outputs.fields["y"]["note"], outputs.fields["y"]["photo"])
            )
            pooled = (0.5 * fused + 0.25 * note + 0.25 * photo) / 2.0 if row % 2 == 0 else note / 0.5
            members.append(softmax(pooled))
        assert scores[row] == pytest.approx(np.mean(members, axis=0), rel=1e-6)
    assert scores.sum(axis=1) == pytest.approx(np.ones(5))


def test_tagging_by_hand():
    outputs = raw()
    readout = TargetReadout(TAGS, ("note", "photo"), {"note": SubsetCalibration({"fused": 1.0, "note": 1.0}, 4.0)})
    logits = (outputs.fused["y"][:, 1] + outputs.fields["y"]["note"][:, 1]).astype(np.float64) / 4.0
    assert readout.scores(outputs)[1] == pytest.approx((1 / (1 + np.exp(-logits))).mean(axis=0), rel=1e-6)


def test_regression_by_hand_in_the_labels_units():
    outputs = raw(width=1)
    by = SubsetCalibration({"fused": 3.0, "note": 1.0})
    readout = TargetReadout(PRICE, ("note", "photo"), {"note": by}, mean=100.0, scale=10.0)
    wanted = (3 * outputs.fused["y"][:, 1, 0] + outputs.fields["y"]["note"][:, 1, 0]).mean() / 4 * 10 + 100
    scores = readout.scores(outputs)
    assert scores.shape == (5,)
    assert scores[1] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("readout", "width", "wanted"),
    [
        (TargetReadout(KIND, ("note", "photo"), prior=(0.5, 0.3, 0.2)), 3, [0.5, 0.3, 0.2]),
        (TargetReadout(KIND, ("note", "photo")), 3, [1 / 3] * 3),
        (TargetReadout(TAGS, ("note", "photo"), prior=(0.5, 0.3, 0.9)), 3, [0.5, 0.3, 0.9]),
        (TargetReadout(PRICE, ("note", "photo"), mean=7.0, scale=2.0), 1, 7.0),
    ],
)
def test_a_row_with_nothing_gets_the_prior_and_never_nan(readout, width, wanted):
    nothing = {"note": np.zeros(2, bool), "photo": np.array([False, True])}
    outputs = raw(2, width, present=nothing)
    outputs.fused["y"][:, 0] = np.nan
    scores = readout.scores(outputs)
    assert scores[0] == pytest.approx(wanted)
    assert np.isfinite(scores).all()


def test_an_unknown_subset_takes_its_largest_known_part():
    one, two = SubsetCalibration(temperature=1.5), SubsetCalibration(temperature=2.5)
    readout = TargetReadout(KIND, ("a", "b", "c"), {"a": one, "a+b": two, "b+c": one})
    # Two parts of one size: always the same one
    assert readout.calibration(("a", "b", "c")) is one
    assert readout.calibration(("a", "b")) is two
    assert readout.calibration(("a", "c")) is one
    assert readout.calibration(("c",)) == SubsetCalibration()


def test_heads_without_weight_add_nothing_and_no_weight_at_all_takes_the_fused_head():
    heads = {"fused": np.ones((1, 2, 3)), "note": np.full((1, 2, 3), np.nan)}
    by = SubsetCalibration({"note": 0.0})
    assert combine(TaskKind.CLASSIFICATION, heads, by) == pytest.approx(np.full((2, 3), 1 / 3))


def test_json_round_trip_gives_the_same_scores():
    by = {"note": SubsetCalibration({"fused": 0.1, "note": 0.9}, 1.25)}
    readout = TargetReadout(KIND, ("note", "photo"), by, threshold=0.4, prior=(0.2, 0.3, 0.5))
    again = TargetReadout.from_json(json.loads(json.dumps(readout.to_json())))
    assert again == readout
    assert np.array_equal(again.scores(raw()), readout.scores(raw()))


def test_rows_members_and_concatenation_are_inverse():
    outputs = raw(6)
    parts = [outputs.rows(np.arange(2)), outputs.rows(np.arange(2, 6))]
    joined = concatenate(parts)
    assert np.array_equal(joined.fused["y"], outputs.fused["y"])
    assert np.array_equal(joined.fields["y"]["photo"], outputs.fields["y"]["photo"], equal_nan=True)
    assert np.array_equal(joined.present["photo"], outputs.present["photo"])
    assert outputs.num_rows == joined.num_rows == 6
    assert outputs.members([1]).fused["y"].shape == (1, 6, 3)
    assert np.array_equal(outputs.members([1]).fused["y"][0], outputs.fused["y"][1])


def test_subsets_are_named_in_the_inputs_order():
    assert subset_name(("image", "audio")) == "image+audio"
