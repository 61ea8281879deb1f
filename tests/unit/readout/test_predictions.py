from __future__ import annotations

import numpy as np
import pytest

from omnifuse.readout import RawOutputs, TargetReadout, make_predictions
from omnifuse.readout.interval import SpreadCalibration
from omnifuse.readout.predictions import NOTHING_READABLE, answer_of
from omnifuse.readout.target_readout import SubsetCalibration
from omnifuse.schema import Target, TaskKind

KIND = TargetReadout(Target("kind", TaskKind.CLASSIFICATION, ("03", "3")), ("note",), threshold=0.7)
TAGS = TargetReadout(Target("tags", TaskKind.TAGGING, ("big", "old")), ("note",), threshold=0.8)
PRICE = TargetReadout(Target("price", TaskKind.REGRESSION), ("note",), mean=5.0, scale=2.0)


def test_a_class_keeps_the_cells_exact_text():
    found = answer_of(KIND, np.array([0.75, 0.25]), proba=True)
    assert (found.value, found.confidence, found.abstained) == ("03", 0.75, False)
    assert found.probabilities == {"03": 0.75, "3": 0.25}
    assert answer_of(KIND, np.array([0.75, 0.25]), proba=False).probabilities is None


@pytest.mark.parametrize(("scores", "abstained"), [([0.69, 0.31], True), ([0.7, 0.3], False), ([0.5, 0.5], True)])
def test_below_the_threshold_it_abstains_and_says_its_best_guess(scores, abstained):
    found = answer_of(KIND, np.array(scores), proba=False)
    assert (found.value, found.abstained) == ("03", abstained)


def test_tags_are_those_from_one_half_on():
    found = answer_of(TAGS, np.array([0.5, 0.1]), proba=True)
    assert found.value == ["big"]
    assert found.confidence == pytest.approx((0.5 + 0.9) / 2)
    assert found.abstained
    assert answer_of(TAGS, np.array([0.1, 0.0]), proba=False).value == []


def test_a_number_has_no_confidence():
    found = answer_of(PRICE, np.float64(3.5), proba=True)
    assert (found.value, found.confidence, found.probabilities, found.abstained) == (3.5, None, None, False)
    assert type(found.value) is float


def test_a_number_has_an_interval_where_one_is_known():
    found = answer_of(PRICE, np.float64(3.5), proba=False, interval=np.array([2.5, 4.5]))
    assert (found.value, found.low, found.high, found.confidence) == (3.5, 2.5, 4.5, None)
    for interval in (None, np.array([np.nan, np.nan]), np.array([-np.inf, np.inf])):
        found = answer_of(PRICE, np.float64(3.5), proba=False, interval=interval)
        assert (found.low, found.high) == (None, None)
    by = SubsetCalibration(interval=SpreadCalibration(0.5, {"fused": 1.0}))
    readout = TargetReadout(PRICE.target, ("note",), {"note": by}, mean=5.0, scale=2.0)
    raw = RawOutputs(
        {"price": np.array([[[1.0], [1.0]]])},
        {"price": {}},
        {"note": np.array([True, False])},
        spreads={"price": {"fused": np.array([[3.0, 3.0]])}},
    )
    one, two = make_predictions(raw, {"price": readout}, row_ids=[0, 1], warnings=[[], []], model_id="x")
    assert (one.targets["price"].low, one.targets["price"].high) == pytest.approx((7 - 3, 7 + 3))
    assert one.to_json()["targets"]["price"]["high"] == pytest.approx(10.0)
    assert two.targets["price"].low is None
    assert "low" not in two.to_json()["targets"]["price"]


def test_rows_keep_order_ids_warnings_and_errors():
    present = {"note": np.array([True, False, True])}
    fused = {
        "kind": np.array([[[9.0, 0.0], [np.nan, np.nan], [0.0, 9.0]]]),
        "price": np.array([[[1.0], [np.nan], [-1.0]]]),
    }
    raw = RawOutputs(fused, {"kind": {}, "price": {}}, present)
    answers = make_predictions(
        raw,
        {"kind": KIND, "price": PRICE},
        row_ids=["x", "y", "z"],
        warnings=[["note: odd"], [], []],
        model_id="abc",
        ids=[{"id": "x"}, {"id": "y"}, {"id": "z"}],
    )
    assert [answer.row_id for answer in answers] == ["x", "y", "z"]
    assert [answer.targets["kind"].value for answer in answers] == ["03", None, "3"]
    assert [answer.targets["price"].value for answer in answers] == [7.0, None, 3.0]
    assert [answer.error for answer in answers] == [None, NOTHING_READABLE, None]
    assert answers[1].targets["kind"].abstained
    assert answers[0].warnings == ("note: odd",)
    assert [answer.modalities_used for answer in answers] == [("note",), (), ("note",)]
    assert answers[2].ids == {"id": "z"}
    assert {answer.model_id for answer in answers} == {"abc"}
