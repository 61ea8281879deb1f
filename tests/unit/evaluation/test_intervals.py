"""Intervals cover, groups widen them, paired tests see what is there and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.evaluation import fusion_verdict, paired_test, with_intervals
from omnifuse.evaluation.verdict import verdict_of
from omnifuse.schema import TaskKind

CLASSIFICATION, TAGGING, REGRESSION = TaskKind.CLASSIFICATION, TaskKind.TAGGING, TaskKind.REGRESSION


def answers(truth, share_right, random):
    """Two-class probabilities that are right on a share of rows."""
    right = random.random(len(truth)) < share_right
    second = np.where(right == (truth == 1), 0.8, 0.2)
    return np.stack([1 - second, second], axis=1)


def test_interval_of_accuracy_is_the_binomial_one():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 400)
    found = with_intervals(CLASSIFICATION, truth, answers(truth, 0.8, random), ("a", "b"), seed=1)["accuracy"]
    half = 1.96 * np.sqrt(found["value"] * (1 - found["value"]) / 400)
    assert found["low"] == pytest.approx(found["value"] - half, abs=0.01)
    assert found["high"] == pytest.approx(found["value"] + half, abs=0.01)


def test_intervals_cover_at_about_their_rate():
    inside = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 2, 150)
        found = with_intervals(CLASSIFICATION, truth, answers(truth, 0.7, random), ("a", "b"), seed=0, resamples=300)
        inside += found["accuracy"]["low"] <= 0.7 <= found["accuracy"]["high"]
    assert 52 <= inside <= 60


def test_seed_decides():
    random = np.random.default_rng(0)
    truth = random.normal(size=50)
    values = truth + random.normal(size=50)
    first = with_intervals(REGRESSION, truth, values, (), seed=1)
    assert first == with_intervals(REGRESSION, truth, values, (), seed=1)
    assert first != with_intervals(REGRESSION, truth, values, (), seed=2)


def test_whole_groups_widen_the_interval():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 30)
    truth = np.zeros(600, int)
    scores = np.where((random.random(20) < 0.5)[groups, None], [0.9, 0.1], [0.1, 0.9])
    alone = with_intervals(CLASSIFICATION, truth, scores, ("a", "b"), seed=0)["accuracy"]
    grouped = with_intervals(CLASSIFICATION, truth, scores, ("a", "b"), seed=0, groups=groups)["accuracy"]
    assert grouped["high"] - grouped["low"] > 3 * (alone["high"] - alone["low"])


def test_interval_holds_the_value_for_every_metric():
    random = np.random.default_rng(3)
    truth = (random.random((40, 3)) < 0.1).astype(float)
    truth[0] = 1
    found = with_intervals(TAGGING, truth, random.random((40, 3)), ("a", "b", "c"), seed=0)
    assert all(item["low"] <= item["value"] <= item["high"] for item in found.values())


def test_one_unit_has_no_interval():
    found = with_intervals(CLASSIFICATION, np.array([0]), np.array([[0.9, 0.1]]), ("a", "b"), seed=0)["accuracy"]
    assert found == {"value": 1.0, "low": None, "high": None}
    groups = np.zeros(10, int)
    found = with_intervals(REGRESSION, np.arange(10.0), np.zeros(10), (), seed=0, groups=groups)
    assert found["r2"]["low"] is None


def test_swap_test_equals_the_exact_sign_test():
    # 9 rows that only A gets right, 1 that only B does: two-sided exact p = 2 * (1 + 10) / 2**10
    truth = np.zeros(60, int)
    right, wrong = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    a, b = np.tile(right, (60, 1)), np.tile(right, (60, 1))
    b[:9] = wrong
    a[9] = wrong
    found = paired_test(CLASSIFICATION, truth, a, b, seed=0)
    assert found["metric"] == "accuracy"
    assert found["difference"] == pytest.approx(8 / 60)
    assert found["p"] == pytest.approx(22 / 1024, abs=0.006)
    mirrored = paired_test(CLASSIFICATION, truth, b, a, seed=0)
    assert mirrored["difference"] == pytest.approx(-8 / 60)
    assert mirrored["low"] == pytest.approx(-found["high"])


@pytest.mark.parametrize("kind", [CLASSIFICATION, TAGGING, REGRESSION])
def test_same_answers_differ_by_nothing(kind):
    random = np.random.default_rng(0)
    truth = {CLASSIFICATION: random.integers(0, 2, 50), REGRESSION: random.normal(size=50)}.get(
        kind, random.integers(0, 2, (50, 2)).astype(float)
    )
    scores = random.random(50) if kind is REGRESSION else random.random((50, 2))
    found = paired_test(kind, truth, scores, scores, seed=0)
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("kind", [TAGGING, REGRESSION])
def test_difference_is_that_of_the_main_metric(kind):
    random = np.random.default_rng(0)
    shape = (80,) if kind is REGRESSION else (80, 3)
    truth = random.normal(size=shape) if kind is REGRESSION else random.integers(0, 2, shape).astype(float)
    a, b = 0.6 * truth + 0.3 * random.random(shape), 0.3 * truth + 0.5 * random.random(shape)
    from omnifuse.evaluation import MAIN_METRIC, score

    names = () if kind is REGRESSION else ("x", "y", "z")
    metric = MAIN_METRIC[kind]
    expected = score(kind, truth, a, names)[metric] - score(kind, truth, b, names)[metric]
    found = paired_test(kind, truth, a, b, seed=0)
    assert found["difference"] == pytest.approx(expected)
    assert found["p"] < 0.01


def test_p_is_uniform_where_nothing_differs():
    small = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        truth = random.normal(size=60)
        a, b = truth + random.normal(size=60), truth + random.normal(size=60)
        small += paired_test(REGRESSION, truth, a, b, seed=0)["p"] < 0.1
    assert 2 <= small <= 20


def test_groups_are_swapped_whole():
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 100)
    truth = np.zeros(300, int)
    a, b = answers(truth, 0.9, random), answers(truth, 0.6, random)
    assert paired_test(CLASSIFICATION, truth, a, b, seed=0)["p"] < 0.001
    # Three groups have only eight swaps
    assert paired_test(CLASSIFICATION, truth, a, b, seed=0, groups=groups)["p"] == pytest.approx(0.25, abs=0.03)


def test_log_loss_sees_what_accuracy_does_not():
    truth = np.zeros(100, int)
    sure, unsure = np.tile([0.9, 0.1], (100, 1)), np.tile([0.6, 0.4], (100, 1))
    assert paired_test(CLASSIFICATION, truth, sure, unsure, seed=0)["p"] == 1.0
    found = paired_test(CLASSIFICATION, truth, sure, unsure, metric="log_loss", seed=0)
    assert found["difference"] == pytest.approx(np.log(0.9 / 0.6))
    assert found["p"] < 0.001
    with pytest.raises(AssertionError, match="r2 is no paired metric"):
        paired_test(CLASSIFICATION, truth, sure, unsure, metric="r2", seed=0)


def test_without_rows_nothing_is_said():
    found = paired_test(CLASSIFICATION, np.full(3, -1), np.full((3, 2), 0.5), np.full((3, 2), 0.5), seed=0)
    assert found["difference"] is None
    assert found["p"] is None
    constant = paired_test(REGRESSION, np.ones(5), np.zeros(5), np.ones(5), seed=0)
    assert constant["difference"] is None


@pytest.mark.parametrize(
    ("difference", "p", "rows", "expected"),
    [
        (0.05, 0.04, 200, "helped"),
        (0.05, 0.04, 199, "cannot tell"),
        (0.05, 0.009, 199, "helped"),
        (-0.05, 0.04, 200, "did not help"),
        (-0.05, 0.04, 199, "cannot tell"),
        (-0.05, 0.009, 50, "did not help"),
        (0.01, 0.05, 5000, "did not help"),
        (0.0, 1.0, 5000, "did not help"),
        (0.0, 1.0, 20, "cannot tell"),
        (None, None, 5000, "cannot tell"),
    ],
)
def test_verdict_rule(difference, p, rows, expected):
    assert verdict_of(difference, p, rows) == expected


def test_verdict_is_against_the_best_single_field():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 500)
    singles = {"image": answers(truth, 0.6, random), "text": answers(truth, 0.75, random)}
    found = fusion_verdict(CLASSIFICATION, truth, answers(truth, 0.9, random), singles, seed=0)
    assert (found["verdict"], found["against"], found["rows"]) == ("helped", "text", 500)
    assert found["difference"]["low"] > 0
    found = fusion_verdict(CLASSIFICATION, truth, answers(truth, 0.6, random), singles, seed=0)
    assert found["verdict"] == "did not help"
    assert found["difference"]["high"] < 0
    assert fusion_verdict(CLASSIFICATION, truth, singles["text"], {"text": singles["text"]}, seed=0) is None


def test_verdict_without_any_defined_metric():
    found = fusion_verdict(REGRESSION, np.ones(300), np.zeros(300), {"a": np.ones(300), "b": np.ones(300)}, seed=0)
    assert found["verdict"] == "cannot tell"
    assert found["p"] is None
