"""Rows of an index that are nearly or exactly the same: pairs above a similarity, and the groups that they make.

Shapes: N rows, D width, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.errors import InputError
from omnifuse.search.index import Index
from omnifuse.search.segment import ID, KEY

_ROWS_AT_ONCE = 2048
MOST_PAIRS = 2_000_000


@dataclass(frozen=True)
class Pair:
    """Two rows by id, their cosine, and whether their content is equal to the byte."""

    first: str
    second: str
    score: float
    same: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"first": self.first, "second": self.second, "score": round(self.score, 6), "same": self.same}


@dataclass(frozen=True)
class Duplicates:
    """What `near_duplicates` found.

    Attributes:
        pairs: Best first, at most as many as were asked for.
        num_pairs: How many there are in all.
        groups: Ids of rows that pairs connect, largest group first.
        num_same: Rows that repeat an earlier one to the byte.
        similarity: The least cosine of a pair.
        rows: How many were compared.
    """

    pairs: tuple[Pair, ...]
    num_pairs: int
    groups: tuple[tuple[str, ...], ...]
    num_same: int
    similarity: float
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "rows": self.rows,
            "similarity": self.similarity,
            "pairs": [pair.to_json() for pair in self.pairs],
            "num_pairs": self.num_pairs,
            "groups": [list(group) for group in self.groups],
            "num_same": self.num_same,
        }


def near_duplicates(
    index: Index, similarity: float = 0.98, *, where: str | None = None, space: str | None = None, most: int = 100
) -> Duplicates:
    """Pairs of rows with at least this cosine, and rows of equal content, whatever their cosine.

    All rows are compared with all: time grows with the square of their number (200,000 rows of 512 take minutes).

    Args:
        index: To look through.
        similarity: Least cosine of a pair, above 0 to 1.
        where: Only rows that fit this filter.
        space: Which vectors are compared; the fused ones by default.
        most: How many pairs are listed.

    Raises:
        InputError: The similarity is out of its limits, or so low that there are more than 2,000,000 pairs.
    """
    if not 0 < similarity <= 1:
        raise InputError(f"the similarity is {similarity}", fix="Give a number above 0, at most 1")
    name = index.space(space)
    rows = np.flatnonzero(index.kept(where, name))
    ids = index.snapshot.column(ID).gather(rows).to_list()
    codes = _codes(index.snapshot.column(KEY).gather(rows).to_list())
    # Rounding in 32 bits must not part equal vectors
    pairs, scores = _pairs(index.vectors(rows, name), similarity - 1e-6, codes)
    same = codes[pairs[:, 0]] == codes[pairs[:, 1]]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -scores, ~same))
    listed = tuple(
        Pair(ids[pairs[place, 0]], ids[pairs[place, 1]], min(float(scores[place]), 1.0), bool(same[place]))
        for place in order[:most]
    )
    groups = [tuple(ids[row] for row in group) for group in _groups(len(rows), pairs)]
    num_same = len(codes) - len(np.unique(codes))
    return Duplicates(listed, len(pairs), tuple(groups), num_same, similarity, len(rows))


def _codes(keys: list[str | None]) -> np.ndarray:
    """(N,) numbers that are equal where the keys are; a row without a key has a number of its own."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(key, row) if key else row for row, key in enumerate(keys)], dtype=np.int64)


def _pairs(vectors: np.ndarray, least: float, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P, 2), the smaller number first, and their cosines (P,)."""
    found, scores, count = [], [], 0
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = vectors[start : start + _ROWS_AT_ONCE]
        for other in range(start, len(vectors), _ROWS_AT_ONCE):
            behind = vectors[other : other + _ROWS_AT_ONCE]
            cosines = part @ behind.T
            ones, twos = np.nonzero(
                (cosines >= least)
                | (codes[start : start + len(part), None] == codes[None, other : other + len(behind)])
            )
            upper = (ones + start) < (twos + other)
            ones, twos = ones[upper], twos[upper]
            found.append(np.stack([ones + start, twos + other], axis=1))
            scores.append(cosines[ones, twos])
            count += len(ones)
            if count > MOST_PAIRS:
                raise InputError(
                    f"more than {MOST_PAIRS} pairs of rows are at least {least:.3g} similar",
                    fix="Ask for a higher similarity, or for fewer rows with a filter",
                )
    if not found:
        return np.empty((0, 2), np.int64), np.empty(0, np.float32)
    return np.concatenate(found), np.concatenate(scores)


def _groups(count: int, pairs: np.ndarray) -> list[list[int]]:
    """Rows that pairs connect, by union-find; largest group first, then by its first row."""
    parent = list(range(count))

    def head(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for one, two in pairs.tolist():
        first, second = sorted((head(one), head(two)))
        parent[second] = first
    members: dict[int, list[int]] = {}
    for row in sorted(set(pairs.ravel().tolist())):
        members.setdefault(head(row), []).append(row)
    return sorted(members.values(), key=lambda group: (-len(group), group[0]))
