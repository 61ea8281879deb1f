"""What is not defined is None, and nothing is ever NaN."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.evaluation import score, with_intervals
from omnifuse.schema import TaskKind

CLASSIFICATION, TAGGING, REGRESSION = TaskKind.CLASSIFICATION, TaskKind.TAGGING, TaskKind.REGRESSION


def no_nan(values):
    for value in values:
        assert value is None or np.isfinite(value)


HARD = {
    "one class": (CLASSIFICATION, np.zeros(5, int), np.tile([0.7, 0.3], (5, 1)), ("a", "b")),
    "one row": (CLASSIFICATION, np.array([1]), np.array([[0.2, 0.8]]), ("a", "b")),
    "no known row": (CLASSIFICATION, np.full(3, -1), np.full((3, 2), 0.5), ("a", "b")),
    "no row": (CLASSIFICATION, np.zeros(0, int), np.zeros((0, 3)), ("a", "b", "c")),
    "constant scores": (CLASSIFICATION, np.array([0, 1, 2]), np.full((3, 3), 1 / 3), ("a", "b", "c")),
    "certain and wrong": (CLASSIFICATION, np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 0.0]]), ("a", "b")),
    "zero scores": (CLASSIFICATION, np.array([0, 1]), np.zeros((2, 2)), ("a", "b")),
    "empty tags": (TAGGING, np.zeros((4, 2)), np.full((4, 2), 0.1), ("a", "b")),
    "all tags": (TAGGING, np.ones((4, 2)), np.full((4, 2), 0.9), ("a", "b")),
    "unknown tags": (TAGGING, np.full((4, 2), np.nan), np.full((4, 2), 0.9), ("a", "b")),
    "no tag row": (TAGGING, np.zeros((0, 2)), np.zeros((0, 2)), ("a", "b")),
    "one value": (REGRESSION, np.array([3.0]), np.array([2.0]), ()),
    "constant truth": (REGRESSION, np.full(9, 0.1), np.arange(9.0), ()),
    "no value": (REGRESSION, np.full(2, np.nan), np.zeros(2), ()),
}


@pytest.mark.parametrize("name", HARD)
def test_never_nan(name):
    kind, truth, scores, classes = HARD[name]
    found = score(kind, truth, scores, classes)
    no_nan(found.values())
    for item in with_intervals(kind, truth, scores, classes, seed=0, resamples=50).values():
        no_nan(item.values())


def test_undefined_is_none():
    one_class = score(*HARD["one class"])
    assert one_class["roc_auc"] is None
    assert one_class["accuracy"] == 1.0
    assert set(score(*HARD["no known row"]).values()) == {None}
    assert score(*HARD["constant truth"])["r2"] is None
    assert score(*HARD["one value"])["mean_absolute_error"] == 1.0
    assert score(*HARD["empty tags"])["average_precision"] is None


def test_hand_computed_scores():
    truth, scores = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.1, 0.9]])
    found = score(CLASSIFICATION, truth, scores, ("a", "b"))
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == 0.75
    assert found["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.9]).mean())
    assert found["roc_auc"] == 1.0


def test_our_own_mistakes_are_loud():
    with pytest.raises(AssertionError, match="2 scores a row but 3 classes"):
        score(CLASSIFICATION, np.array([0]), np.array([[0.5, 0.5]]), ("a", "b", "c"))
    with pytest.raises(AssertionError, match="NaN"):
        score(REGRESSION, np.array([0.0]), np.array([np.nan]), ())
    with pytest.raises(AssertionError, match="2 labels but 1 answers"):
        score(REGRESSION, np.zeros(2), np.zeros(1), ())
