"""How a space of unit vectors is filled: alignment, uniformity, the gap between modalities, hubness.

References: Wang and Isola 2020, Understanding contrastive representation learning through alignment and uniformity on
the hypersphere, ICML; Liang et al. 2022, Mind the gap, NeurIPS; Radovanovic et al. 2010, Hubs in space, JMLR 11.

Shapes: N rows, D width.
"""

from __future__ import annotations

import numpy as np

from omnifuse.search.exact import nearest

_MOST_PAIRED = 2000


def alignment(ones: np.ndarray, others: np.ndarray) -> float:
    """Mean squared distance between the two vectors of a row, 0 (the same) to 4; Wang and Isola's with alpha = 2.

    Args:
        ones: (N, D) of one modality.
        others: (N, D) of another, of the same rows.

    Example:
        >>> alignment(np.eye(2), np.eye(2)[::-1])
        2.0
    """
    return float(np.square(np.asarray(ones, np.float64) - others).sum(axis=1).mean())


def uniformity(vectors: np.ndarray, *, seed: int = 0) -> float:
    """log mean exp(-2 d^2) over pairs of unlike rows: 0 where all vectors are one, below about -3 where well spread.

    Args:
        vectors: (N, D), N at least 2; of more than 2,000 so many are drawn.
        seed: Of that draw.

    Example:
        >>> round(uniformity(np.eye(2)), 6)
        -4.0
    """
    drawn = np.asarray(vectors, np.float64)
    if len(drawn) > _MOST_PAIRED:
        drawn = drawn[np.random.default_rng(seed).choice(len(drawn), _MOST_PAIRED, replace=False)]
    squared = np.maximum(2.0 - 2.0 * (drawn @ drawn.T), 0.0)[np.triu_indices(len(drawn), k=1)]
    return float(np.log(np.exp(-2.0 * squared).mean())) + 0.0


def modality_gap(ones: np.ndarray, others: np.ndarray) -> float:
    """Distance between the centres of two modalities, 0 to 2.

    Example:
        >>> modality_gap(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]]))
        2.0
    """
    return float(np.linalg.norm(np.mean(ones, axis=0, dtype=np.float64) - np.mean(others, axis=0, dtype=np.float64)))


def occurrences(vectors: np.ndarray, count: int = 10) -> np.ndarray:
    """(N,) how often each row is among the `count` nearest of the others."""
    values = np.asarray(vectors, np.float32)
    _, numbers = nearest([values], values, min(count + 1, len(values)))
    found = [listed[listed != row][:count] for row, listed in enumerate(numbers)]
    return np.bincount(np.concatenate(found) if found else [], minlength=len(values)).astype(np.int64)


def hubness(vectors: np.ndarray, count: int = 10) -> float:
    """Skewness of `occurrences`: about 0 without hubs; above 1 some rows are near everything."""
    counts = occurrences(vectors, count).astype(np.float64)
    spread = counts.std()
    return 0.0 if spread == 0 else float(np.mean(((counts - counts.mean()) / spread) ** 3))
