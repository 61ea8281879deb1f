"""Whether one modality finds another: ranks of the own row, recall and median rank with bootstrap intervals.

Reference: Efron and Tibshirani 1993, An Introduction to the Bootstrap (percentile interval).

Shapes: N rows, D width, S resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RECALLS = (1, 5, 10)
_ROWS_AT_ONCE = 1024
_RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}


@dataclass(frozen=True)
class Retrieval:
    """How well the vectors of one modality find those of another, among `rows` rows.

    Attributes:
        asked: The modality (field) that asks.
        found: The one that is searched.
        rows: N; by chance recall at k is k / N.
        recall: k to the share of rows whose own partner is among the first k.
        median_rank: Of the partner, from 1.
    """

    asked: str
    found: str
    rows: int
    recall: dict[int, Estimate]
    median_rank: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "from": self.asked,
            "to": self.found,
            "rows": self.rows,
            **{f"recall_at_{k}": estimate.to_json() for k, estimate in self.recall.items()},
            "median_rank": self.median_rank.to_json(),
        }


def partner_ranks(asked: np.ndarray, searched: np.ndarray, keys: np.ndarray | None = None) -> np.ndarray:
    """(N,) rank of each row's own partner, from 1.

    Rows before it are those with a larger cosine, and half of those with the same one. Rows of equal content (equal
    `keys`) are the partner as well: the best of them counts.

    Args:
        asked: (N, D).
        searched: (N, D), row by row the partners.
        keys: (N,) numbers, equal where the content is.
    """
    ranks = np.empty(len(asked), dtype=np.float64)
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        cosines = np.asarray(asked[start : start + _ROWS_AT_ONCE], np.float32) @ np.asarray(searched, np.float32).T
        rows = np.arange(start, start + len(cosines))
        if keys is None:
            partner = np.zeros(cosines.shape, dtype=np.bool_)
            partner[np.arange(len(rows)), rows] = True
        else:
            partner = keys[rows][:, None] == keys[None]
        own = np.where(partner, cosines, -np.inf).max(axis=1, keepdims=True)
        others = ~partner
        # Cosines of equal vectors differ in their last bit
        larger = ((cosines > own + 1e-6) & others).sum(axis=1)
        same = ((np.abs(cosines - own) <= 1e-6) & others).sum(axis=1)
        ranks[start : start + len(rows)] = 1 + larger + same / 2
    return ranks


def measured_retrieval(asked: str, found: str, ranks: np.ndarray, *, seed: int = 0) -> Retrieval:
    """Recall and median rank of ranks (N,), N at least 1."""
    recall = {
        k: _estimate(ranks <= k, lambda drawn: np.asarray(drawn.mean(axis=0)), seed) for k in RECALLS
    }  # fmt: skip
    median = _estimate(ranks, lambda drawn: np.asarray(np.median(drawn, axis=0)), seed)
    return Retrieval(asked, found, len(ranks), recall, median)


def _estimate(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int) -> Estimate:
    random = np.random.default_rng(seed)
    count = len(values)
    found = []
    for _ in range(10):
        drawn = random.integers(0, count, (count, _RESAMPLES // 10))
        found.append(statistic(values[drawn]))
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    value = float(statistic(values[:, None])[0])
    return Estimate(value, min(float(low), value), max(float(high), value))
