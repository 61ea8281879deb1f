"""Exact nearest vectors: one pass over all of them, at the speed of memory.

For one question the pass reads each vector once and computes little, so its time is that of the bytes. Vectors of unit
length: the inner product is the cosine.

Shapes: N vectors, D width, Q questions, K results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# What lies in a cache of the processor
_BYTES_AT_ONCE = 8 << 20
_QUESTIONS_AT_ONCE = 64
# Where fewer rows than this share of a chunk may be found, they are gathered first
_SPARSE = 0.125


def nearest(
    blocks: Sequence[np.ndarray], questions: np.ndarray, count: int, kept: np.ndarray | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The vectors with the largest inner products.

    Args:
        blocks: N vectors (.., D) in all, float32 or float16, perhaps mapped from disk.
        questions: (Q, D) float32.
        count: K.
        kept: (N,) bool, which ones may be found; None for all.

    Returns:
        For each question the scores (K,) float32, largest first, and the numbers (K,) int64 of the vectors; of equal
        ones the first. Fewer where fewer may be found.
    """
    scores: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
        part = np.ascontiguousarray(questions[start : start + _QUESTIONS_AT_ONCE], dtype=np.float32)
        best = [_Best(count) for _ in part]
        for chunk in _chunks(blocks, kept, len(part)):
            found = (chunk.vectors @ part[0])[None] if len(part) == 1 else part @ chunk.vectors.T
            for item, row in zip(best, found, strict=True):
                item.add(row, chunk)
        scores += [item.scores for item in best]
        numbers += [item.numbers for item in best]
    return scores, numbers


@dataclass(frozen=True)
class _Chunk:
    """Vectors (c, D) float32 of a stretch of rows.

    Attributes:
        first: Number of the first row of the stretch.
        vectors: Of all its rows, or of some.
        places: Which rows of the stretch these are; None for all.
        kept: (c,) bool, which of them may be found; None for all.
    """

    first: int
    vectors: np.ndarray
    places: np.ndarray | None = None
    kept: np.ndarray | None = None


def _chunks(blocks: Sequence[np.ndarray], kept: np.ndarray | None, num_questions: int) -> Iterator[_Chunk]:
    """Every vector that may be found, once; a stretch of which few may be is gathered, of which most is read whole."""
    done = 0
    for block in blocks:
        # The products of all questions stay in the cache as well
        size = max(256, _BYTES_AT_ONCE // (block.shape[1] * block.itemsize + 4 * num_questions))
        for start in range(0, len(block), size):
            rows = block[start : start + size]
            part = None if kept is None else kept[done + start : done + start + len(rows)]
            num_kept = len(rows) if part is None else int(np.count_nonzero(part))
            if num_kept == len(rows):
                yield _Chunk(done + start, _float32(rows))
            elif part is not None and num_kept > _SPARSE * len(rows):
                yield _Chunk(done + start, _float32(rows), kept=part)
            elif part is not None and num_kept:
                places = np.flatnonzero(part)
                yield _Chunk(done + start, _float32(rows[places]), places)
        done += len(block)


def _float32(chunk: np.ndarray) -> np.ndarray:
    return chunk if chunk.dtype == np.float32 else chunk.astype(np.float32)


class _Best:
    """The best of what was seen so far; chunks come in order, so of equal scores those seen stay."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.scores = np.empty(0, np.float32)
        self.numbers = np.empty(0, np.int64)

    def add(self, scores: np.ndarray, chunk: _Chunk) -> None:
        """Scores (c,) of a chunk."""
        if chunk.kept is not None:
            scores = np.where(chunk.kept, scores, np.float32(-np.inf))
        if len(self.scores) == self.count:
            new = np.flatnonzero(scores > self.scores[-1])
        elif len(scores) > self.count:
            least = np.partition(scores, len(scores) - self.count)[len(scores) - self.count]
            new = np.flatnonzero(scores >= least)
        else:
            new = np.arange(len(scores))
        new = new[scores[new] > -np.inf]
        if not len(new):
            return
        numbers = chunk.first + (new if chunk.places is None else chunk.places[new])
        self.scores = np.concatenate([self.scores, scores[new]])
        self.numbers = np.concatenate([self.numbers, numbers])
        order = np.lexsort((self.numbers, -self.scores))[: self.count]
        self.scores, self.numbers = self.scores[order], self.numbers[order]
