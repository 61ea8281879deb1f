"""Are confidences true? Calibration errors, the bins of a reliability diagram, and how well confidence ranks mistakes.

References: Guo et al. 2017, On Calibration of Modern Neural Networks (ECE, 15 bins); Nixon et al. 2019, Measuring
Calibration in Deep Learning (bins of equal mass); Geifman et al. 2019, Bias-Reduced Uncertainty Estimation (AURC).
"""

from __future__ import annotations

import numpy as np

from omnifuse.evaluation.metrics import known_rows
from omnifuse.schema import TaskKind

NUM_BINS = 15


def confidences(kind: TaskKind, truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness of each answer.

    Args:
        kind: Classification and ordinal: the most probable class of each row. Tagging: each tag of each row, there or
            not. Regression has no confidence and gives nothing.
        truth: As for `score`.
        scores: As for `score`.

    Returns:
        (N,) float confidence in 0 to 1 and (N,) bool correct, of the known rows.
    """
    if kind is TaskKind.REGRESSION:
        return np.zeros(0), np.zeros(0, bool)
    known = known_rows(kind, truth)
    label, answer = truth[known], np.asarray(scores, np.float64)[known]
    if kind is TaskKind.TAGGING:
        return np.maximum(answer, 1 - answer).ravel(), ((answer >= 0.5) == (label > 0.5)).ravel()
    if not len(answer):
        return np.zeros(0), np.zeros(0, bool)
    return answer.max(axis=1), answer.argmax(axis=1) == label


def reliability_bins(
    confidence: np.ndarray, correct: np.ndarray, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> list[tuple[float, float, int]]:
    """The points of a reliability diagram.

    Args:
        confidence: (N,) in 0 to 1.
        correct: (N,) bool.
        num_bins: Bins of equal width over 0 to 1; a confidence on an edge belongs to the lower bin.
        adaptive: Bins of (nearly) equal mass instead; equal confidences may then fall into two bins.

    Returns:
        (mean confidence, share correct, count) of each bin that is not empty, in rising order.

    Example:
        >>> reliability_bins(np.array([0.25, 0.75, 0.875]), np.array([False, True, False]), num_bins=2)
        [(0.25, 0.0, 1), (0.8125, 0.5, 2)]
    """
    if not len(confidence):
        return []
    if adaptive:
        bins = [part for part in np.array_split(np.argsort(confidence, kind="stable"), num_bins) if len(part)]
    else:
        number = np.searchsorted(np.linspace(0.0, 1.0, num_bins + 1)[1:-1], confidence)
        bins = [np.flatnonzero(number == index) for index in np.unique(number)]
    return [(float(confidence[rows].mean()), float(correct[rows].mean()), len(rows)) for rows in bins]


def calibration_error(
    confidence: np.ndarray, correct: np.ndarray, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> float | None:
    """Expected calibration error: mean gap between confidence and share correct, bins weighted by their count.

    Args:
        confidence: (N,) in 0 to 1, see `confidences`.
        correct: (N,) bool.
        num_bins: Number of bins.
        adaptive: Bins of equal mass (adaptive ECE) instead of equal width (ECE).

    Returns:
        0 to 1; None without answers.
    """
    bins = reliability_bins(confidence, correct, num_bins=num_bins, adaptive=adaptive)
    if not bins:
        return None
    return sum(count * abs(mean - share) for mean, share, count in bins) / len(confidence)


def risk_coverage_area(confidence: np.ndarray, correct: np.ndarray) -> float | None:
    """Area under the risk-coverage curve: mean share of mistakes among the k surest answers, over all k.

    Equal confidences are taken as one block whose mistakes lie evenly, so that the order of rows does not matter. Lower
    is better; None without answers.

    Example:
        >>> risk_coverage_area(np.array([0.9, 0.8]), np.array([True, False]))
        0.25
    """
    if not len(confidence):
        return None
    block = np.unique(-np.asarray(confidence), return_inverse=True)[1]
    sizes = np.bincount(block)
    mistakes = np.bincount(block, weights=1.0 - correct) / sizes
    risk = np.cumsum(np.repeat(mistakes, sizes)) / np.arange(1, len(confidence) + 1)
    return float(risk.mean())


def calibration_summary(kind: TaskKind, truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """`ece`, `adaptive_ece` and `aurc` of answers; None where not defined, as all are for regression."""
    confidence, correct = confidences(kind, truth, scores)
    return {
        "ece": calibration_error(confidence, correct),
        "adaptive_ece": calibration_error(confidence, correct, adaptive=True),
        "aurc": risk_coverage_area(confidence, correct),
    }
