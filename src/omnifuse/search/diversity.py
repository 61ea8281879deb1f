"""Results that are near the question but unlike each other: maximal marginal relevance.

Reference: Carbonell and Goldstein 1998, The use of MMR, diversity-based reranking for reordering documents, SIGIR.

Shapes: P candidates, D width, K results.
"""

from __future__ import annotations

import numpy as np

POOL = 5
FEWEST = 50


def pool_size(count: int) -> int:
    """How many candidates are looked at for `count` results."""
    return max(POOL * count, FEWEST)


def diverse_order(scores: np.ndarray, vectors: np.ndarray, count: int, diversity: float) -> np.ndarray:
    """Places (K,) of the candidates that are taken, in the order in which they are.

    The next one is always the one with the largest ``(1 - diversity) * score - diversity * c``, where c is its largest
    cosine with those already taken.

    Args:
        scores: (P,) cosines with the question, largest first.
        vectors: (P, D) of unit length.
        count: K.
        diversity: 0 takes the nearest, 1 looks at unlikeness alone once the nearest is taken.

    Example:
        >>> vectors = np.array([[1, 0], [1, 0], [0, 1.0]])
        >>> diverse_order(np.array([0.9, 0.9, 0.4]), vectors, 2, 0.5).tolist()
        [0, 2]
    """
    count = min(count, len(scores))
    taken: list[int] = []
    likeness = np.full(len(scores), -np.inf)
    left = np.ones(len(scores), dtype=np.bool_)
    for _ in range(count):
        worth = scores if not taken else (1 - diversity) * scores - diversity * likeness
        best = int(np.argmax(np.where(left, worth, -np.inf)))
        taken.append(best)
        left[best] = False
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return np.array(taken, dtype=np.int64)
