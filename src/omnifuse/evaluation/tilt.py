"""How much rare classes count in the answer: the tilt of `readout.decision`, found on rows that nobody learnt from.

One number for all classes, tried from 0 to 1, so that few rows cannot mislead it, and where the classes are even it
changes nothing. Of the tilts that cost hardly any accuracy it is the one of the best macro F1.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import math

import numpy as np

from omnifuse.readout.decision import choose_classes

TILTS = tuple(step / 10 for step in range(11))
# Accuracy that may be lost, in standard errors of it: what a few answers more or less make up
ACCURACY_LOST = 0.25
# Fewer rows cannot tell
FEWEST_ROWS = 100


def fit_tilt(probabilities: np.ndarray, truth: np.ndarray, prior: np.ndarray) -> float:
    """The tilt of the best macro F1 up to the first that costs accuracy.

    Args:
        probabilities: (N, C), calibrated.
        truth: (N,) class numbers.
        prior: (C,) shares of the classes in the rows that were learnt from.

    Returns:
        0 to 1; 0 with fewer than 100 rows, or where nothing is better than the most probable class.
    """
    if len(truth) < FEWEST_ROWS:
        return 0.0
    best, best_f1, least = 0.0, -math.inf, 0.0
    for tilt in TILTS:
        answers = choose_classes(probabilities, prior, tilt)
        accuracy = float((answers == truth).mean())
        if tilt == 0.0:
            least = accuracy - ACCURACY_LOST * math.sqrt(accuracy * (1 - accuracy) / len(truth))
        if accuracy < least:
            break
        found = macro_f1(truth, answers, probabilities.shape[1])
        if found > best_f1:
            best, best_f1 = tilt, found
    return best


def macro_f1(truth: np.ndarray, answers: np.ndarray, num_classes: int) -> float:
    """Mean F1 of the classes that are there or answered.

    Example:
        >>> macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
        0.6666666666666666
    """
    hits = np.bincount(truth[truth == answers], minlength=num_classes)
    both = np.bincount(truth, minlength=num_classes) + np.bincount(answers, minlength=num_classes)
    return float((2 * hits[both > 0] / both[both > 0]).mean())
