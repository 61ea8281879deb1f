"""Newton's method for convex functions of a few non-negative numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Point (K,) to loss, gradient (K,) and Hessian (K, K)
Loss = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]


def projected_newton(loss: Loss, start: np.ndarray, *, steps: int = 30) -> np.ndarray:
    """The non-negative minimum (K,) of a strictly convex function.

    Args:
        loss: The function.
        start: (K,) where to begin.
        steps: Most steps.

    References: Bertsekas 1982, Projected Newton methods for optimization problems with simple constraints.
    """
    point = start
    value, gradient, hessian = loss(point)
    for _ in range(steps):
        free = (point > 0) | (gradient < 0)
        step = np.zeros_like(point)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        if not free.any() or np.abs(step).max() < 1e-7:
            break
        for halving in range(20):
            candidate = np.maximum(point - 0.5**halving * step, 0.0)
            found = loss(candidate)
            if found[0] <= value:
                break
        else:
            break
        point, (value, gradient, hessian) = candidate, found
    return point
