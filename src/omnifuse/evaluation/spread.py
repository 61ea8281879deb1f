"""Fitting how wide a number's interval is, on rows that the networks had not learnt from.

The errors are taken as Laplace distributed about the answer, with the scale c exp(b z) of the signs of doubt z. For
given powers b the best c is a mean, so that what is left to minimise, log mean(|error| exp(-b z)) + b mean(z), is
convex. A normal prior pulls the powers to 0, an interval as wide everywhere.

Shapes: N rows, S signs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from omnifuse.evaluation.conformal import conformal_width
from omnifuse.evaluation.newton import projected_newton
from omnifuse.readout.interval import SpreadCalibration

LEAST_ERROR, LEAST_POWER = 1e-9, 1e-3


def fit_spread(
    signs: Mapping[str, np.ndarray], errors: np.ndarray, *, coverage: float, pull: float
) -> SpreadCalibration | None:
    """Powers by likelihood, then the width by conformal prediction.

    Args:
        signs: Sign to (N,) logarithms, see `readout.interval.doubt`.
        errors: (N,) answer minus truth, standardised, of unlearnt rows.
        coverage: Share of intervals that shall hold the truth.
        pull: Precision of the prior against the mean loss of the rows.

    Returns:
        The calibration; None with too few rows for the promise.
    """
    found = spread_powers(np.stack(list(signs.values()), axis=1), np.abs(errors), pull)
    powers = {name: round(float(power), 6) for name, power in zip(signs, found, strict=True) if power >= LEAST_POWER}
    scaled = errors / SpreadCalibration(1.0, powers).half_widths(signs)
    width = conformal_width(np.zeros(len(scaled)), scaled, coverage=coverage)
    return SpreadCalibration(width, powers) if math.isfinite(width) else None


def spread_powers(signs: np.ndarray, sizes: np.ndarray, pull: float) -> np.ndarray:
    """(S,) non-negative powers of the most likely Laplace scale.

    Args:
        signs: (N, S).
        sizes: (N,) absolute errors.
        pull: As for `fit_spread`.
    """
    mean = signs.mean(axis=0)
    centred = signs - mean
    log_sizes = np.log(np.maximum(sizes, LEAST_ERROR))

    def loss(powers: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        # The intercept is out: of centred signs, b mean(z) is 0
        scaled = log_sizes - centred @ powers
        top = scaled.max()
        weights = np.exp(scaled - top)
        value = float(top + np.log(weights.mean()))
        weights /= weights.sum()
        expected = weights @ centred
        hessian = (centred * weights[:, None]).T @ centred - np.outer(expected, expected)
        ridge = pull * np.eye(len(powers))
        return value + 0.5 * pull * float(powers @ powers), -expected + pull * powers, hessian + ridge

    return projected_newton(loss, np.zeros(signs.shape[1]))
