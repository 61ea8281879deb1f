"""Which class is answered, given calibrated probabilities: rare classes may count for more than their probability.

The most probable class makes the fewest mistakes, and where one class is common it is nearly always that one: a rare
class is then hardly ever answered. The answer is the class of the highest probability over its share of the training
rows to a power, the tilt. At 0 it is the most probable class; at 1 every class counts as if it were as common as the
others. The probabilities stay as they are.

References: Menon et al. 2021, Long-Tail Learning via Logit Adjustment (equation 9, with 0 to 1 as its tau).

Shapes: B rows, C classes.
"""

from __future__ import annotations

import numpy as np

_LEAST = 1e-12


def choose_classes(probabilities: np.ndarray, prior: np.ndarray, tilt: float) -> np.ndarray:
    """Numbers (B,) of the classes that are answered.

    Args:
        probabilities: (B, C).
        prior: (C,) shares of the classes; empty where they are not known, which counts as even.
        tilt: 0 to 1.

    Example:
        >>> choose_classes(np.array([[0.6, 0.4]]), np.array([0.9, 0.1]), 0.5).tolist()
        [1]
    """
    if tilt == 0.0 or not len(prior):
        return np.asarray(probabilities.argmax(axis=1))
    return np.asarray((probabilities / np.maximum(prior, _LEAST) ** tilt).argmax(axis=1))
