"""The layer behind channels that are taken out, fitted anew so that it gives what it gave before.

No label is needed for that, and no training: it is ridge regression on the samples at hand, as strong as does best on
samples that it was not fitted to.

References: He et al. 2017, Channel Pruning for Accelerating Very Deep Neural Networks, equation 5.

Shapes: N samples (rows times tokens), F channels, C outputs.
"""

from __future__ import annotations

import numpy as np

# Strengths of the ridge, as shares of a channel's mean square
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)


def refitted(
    samples: np.ndarray, weights: np.ndarray, stay: np.ndarray, *, shifts: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (kept, C) of the channels that stay, and what the layer's bias (C,) gains.

    Args:
        samples: (N, F) values of all channels.
        weights: (F, C) of the layer that reads them.
        stay: Numbers of the channels that stay, in ascending order.
        shifts: Whether there is a bias to take up what channels gave on average; the gain is 0 otherwise.
    """
    values, read = samples.astype(np.float64), weights.astype(np.float64)
    gone = np.setdiff1d(np.arange(values.shape[1]), stay)
    mean = values.mean(axis=0) if shifts else np.zeros(values.shape[1])
    centred = values - mean
    more = _making_up_for(centred[:, stay], centred[:, gone] @ read[gone])
    return read[stay] + more, mean[gone] @ read[gone] - mean[stay] @ more


def _making_up_for(kept: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """(kept, C) that gives best what was lost (N, C); zeros where that fails on samples that it was not fitted to."""
    halves = np.arange(len(kept)) % 2 == 0
    errors = {0.0: 0.0, **dict.fromkeys(RIDGES, 0.0)}
    for fitted in (halves, ~halves) if len(kept) > 1 else ():
        errors[0.0] += float((lost[~fitted] ** 2).sum())
        for ridge in RIDGES:
            rest = lost[~fitted] - kept[~fitted] @ _ridge(kept[fitted], lost[fitted], ridge)
            errors[ridge] += float((rest**2).sum())
    best = min(errors, key=lambda ridge: errors[ridge])
    return _ridge(kept, lost, best) if best else np.zeros((kept.shape[1], lost.shape[1]))


def _ridge(kept: np.ndarray, lost: np.ndarray, ridge: float) -> np.ndarray:
    gram = kept.T @ kept / len(kept)
    gram += (ridge * np.trace(gram) / len(gram) + 1e-12) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram, kept.T @ lost / len(kept)))
