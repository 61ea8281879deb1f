"""Calibration errors, conformal sets and risk-coverage, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnifuse.evaluation import (
    calibration_error,
    calibration_summary,
    confidences,
    conformal_coverage,
    conformal_threshold,
    conformal_width,
    reliability_bins,
    risk_coverage_area,
)
from omnifuse.schema import TaskKind

CONFIDENCE = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
CORRECT = np.array([True, True, True, False, True, False])


def test_ece_by_hand():
    # Four answers at 0.95, of which 0.75 are right; two at 0.55, of which 0.5 are right
    expected = 4 / 6 * 0.20 + 2 / 6 * 0.05
    assert calibration_error(CONFIDENCE, CORRECT) == pytest.approx(expected)
    assert calibration_error(CONFIDENCE, CORRECT, num_bins=1) == pytest.approx(abs(CONFIDENCE.mean() - 4 / 6))


def test_adaptive_ece_by_hand():
    confidence = np.array([0.1, 0.2, 0.3, 0.4])
    correct = np.array([False, False, True, False])
    # Two bins of two: |0.15 - 0| and |0.35 - 0.5|
    assert calibration_error(confidence, correct, num_bins=2, adaptive=True) == pytest.approx(0.15)


def test_bins_are_those_of_the_diagram():
    bins = reliability_bins(CONFIDENCE, CORRECT)
    assert [count for *_, count in bins] == [2, 4]
    assert bins[0][:2] == pytest.approx((0.55, 0.5))
    edges = reliability_bins(np.array([0.0, 0.5, 1.0]), np.array([False, True, True]), num_bins=2)
    assert [count for *_, count in edges] == [2, 1]


def test_confidences_by_kind():
    found = confidences(TaskKind.CLASSIFICATION, np.array([0, -1, 1]), np.array([[0.7, 0.3], [0.5, 0.5], [0.8, 0.2]]))
    assert found[0].tolist() == [0.7, 0.8]
    assert found[1].tolist() == [True, False]
    found = confidences(TaskKind.TAGGING, np.array([[1.0, 0.0], [np.nan, np.nan]]), np.array([[0.9, 0.75], [0.1, 0.1]]))
    assert found[0].tolist() == [0.9, 0.75]
    assert found[1].tolist() == [True, False]
    assert len(confidences(TaskKind.REGRESSION, np.zeros(3), np.zeros(3))[0]) == 0


def test_nothing_is_none():
    nothing = {"ece": None, "adaptive_ece": None, "aurc": None}
    assert calibration_summary(TaskKind.REGRESSION, np.zeros(3), np.zeros(3)) == nothing
    assert calibration_summary(TaskKind.CLASSIFICATION, np.array([-1]), np.array([[1.0]])) == nothing
    one = calibration_summary(TaskKind.CLASSIFICATION, np.array([0]), np.array([[0.9, 0.1]]))
    assert one == pytest.approx({"ece": 0.1, "adaptive_ece": 0.1, "aurc": 0.0})


def test_risk_coverage_ignores_the_order_of_equals():
    confidence = np.array([0.5, 0.5, 0.5, 0.5])
    assert risk_coverage_area(confidence, np.array([True, True, False, False])) == pytest.approx(0.5)
    assert risk_coverage_area(confidence, np.array([False, False, True, True])) == pytest.approx(0.5)
    perfect = risk_coverage_area(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
    assert perfect == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)


def test_conformal_threshold_by_hand():
    # 19 rows: the rank is ceil(20 * 0.9) = 18, so all but the worst true probability lie inside
    true = np.linspace(0.05, 0.95, 19)
    scores = np.stack([true, 1 - true], axis=1)
    assert conformal_threshold(scores, np.zeros(19, int)) == pytest.approx(0.1)
    assert conformal_threshold(scores[:5], np.zeros(5, int)) == 0.0
    assert conformal_threshold(scores, np.full(19, -1)) == 0.0


def test_conformal_coverage_holds_on_new_rows():
    found = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 5, 4000)
        logits = random.normal(size=(4000, 5)) + 1.5 * np.eye(5)[truth]
        # Badly calibrated on purpose: the promise does not depend on it
        scores = np.exp(4 * logits)
        scores /= scores.sum(axis=1, keepdims=True)
        found.append(conformal_coverage(scores[2000:], truth[2000:], conformal_threshold(scores[:2000], truth[:2000])))
    # The promise is one over draws: a draw's standard deviation is 0.0095, that of twenty 0.0021
    assert np.mean([item["coverage"] for item in found]) == pytest.approx(0.9, abs=0.0065)
    assert all(1 < item["set_size"] < 5 for item in found)


def test_conformal_coverage_without_labels():
    nothing = {"coverage": None, "set_size": None}
    assert conformal_coverage(np.full((2, 2), 0.5), np.array([-1, -1]), 0.1) == nothing


def test_conformal_width():
    truth = np.append(np.arange(1.0, 20.0), np.nan)
    assert conformal_width(np.zeros(20), truth) == 18.0
    assert conformal_width(np.zeros(2), np.ones(2)) == math.inf
