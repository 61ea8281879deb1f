"""Split conformal prediction: sets of classes, or intervals of values, that hold the truth as often as promised.

The promise holds for rows that are exchangeable with those the threshold was fitted on, whatever the network does.

References: Vovk et al. 2005, Algorithmic Learning in a Random World; Angelopoulos and Bates 2021, A Gentle
Introduction to Conformal Prediction, section 1 (score 1 - probability of the true class).
"""

from __future__ import annotations

import math

import numpy as np


def _rank(count: int, coverage: float) -> int:
    return math.ceil((count + 1) * coverage - 1e-9)


def conformal_threshold(scores: np.ndarray, truth: np.ndarray, *, coverage: float = 0.9) -> float:
    """Probability from which on a class belongs to the set.

    Args:
        scores: (R, C) probabilities of rows that the network has not learnt from.
        truth: (R,) int, -1 = unknown.
        coverage: Share of sets that shall hold the true class.

    Returns:
        The threshold; 0 (every class) with too few rows for any promise.

    Example:
        >>> conformal_threshold(np.array([[0.9, 0.1]] * 9), np.zeros(9, int))
        0.9
    """
    known = np.flatnonzero(truth >= 0)
    rank = _rank(len(known), coverage)
    if rank > len(known) or not len(known):
        return 0.0
    # The rank-th smallest of 1 - p is the rank-th largest p
    return float(np.sort(np.asarray(scores, np.float64)[known, truth[known]])[::-1][rank - 1])


def conformal_width(values: np.ndarray, truth: np.ndarray, *, coverage: float = 0.9) -> float:
    """Half-width of the interval about a predicted value.

    Args:
        values: (R,) predictions of rows that the network has not learnt from.
        truth: (R,) float, NaN = unknown.
        coverage: Share of intervals that shall hold the true value.

    Returns:
        In the label's units; infinite with too few rows for any promise.
    """
    errors = np.sort(np.abs(values - truth)[~np.isnan(truth)])
    rank = _rank(len(errors), coverage)
    return float(errors[rank - 1]) if 0 < rank <= len(errors) else math.inf


def interval_summary(intervals: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """`coverage` (share of intervals that hold the truth) and `mean_width` (label's units) on other rows.

    Args:
        intervals: (R, 2) lowest and highest value; rows of NaN have no interval and are left out.
        truth: (R,) float, NaN = unknown.

    Example:
        >>> interval_summary(np.array([[0.0, 2.0], [0.0, 4.0]]), np.array([1.0, 5.0]))
        {'coverage': 0.5, 'mean_width': 3.0}
    """
    known = np.isfinite(intervals).all(axis=1) & ~np.isnan(truth)
    if not known.any():
        return {"coverage": None, "mean_width": None}
    low, high, label = intervals[known, 0], intervals[known, 1], truth[known]
    inside = (low <= label) & (label <= high)
    return {"coverage": float(inside.mean()), "mean_width": float((high - low).mean())}


def conformal_coverage(scores: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float | None]:
    """`coverage` (share of sets that hold the true class) and `set_size` (mean number of classes) on other rows."""
    known = np.flatnonzero(truth >= 0)
    if not len(known):
        return {"coverage": None, "set_size": None}
    inside = np.asarray(scores, np.float64)[known] >= threshold
    held = inside[np.arange(len(known)), truth[known]]
    return {"coverage": float(held.mean()), "set_size": float(inside.sum(axis=1).mean())}
