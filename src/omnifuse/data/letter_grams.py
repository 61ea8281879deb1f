"""Neighbouring letters of word pieces as numbers, so that words of like spelling have something in common."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

SHORTEST, LONGEST = 2, 5
# Of one piece; longer ones give those of their beginning
MOST_GRAMS = 64
_CONTINUED = "##"


def letter_grams(pieces: Sequence[str], num_buckets: int) -> np.ndarray:
    """Runs of two to five letters of each piece, hashed; a blank before it tells that a word begins.

    Args:
        pieces: Vocabulary in the order of the ids; pieces that continue a word start with ``##``.
        num_buckets: Runs are hashed into so many.

    Returns:
        int32 (V, G), -1 where a piece has fewer than G.

    References: Cavnar and Trenkle 1994 (n-grams of letters); Bojanowski et al. 2017 (subwords as a bag).

    Example:
        >>> found = letter_grams(["cat", "##s"], 1000)
        >>> (found >= 0).sum(axis=1).tolist()
        [10, 1]
    """
    rows = [_hashed(piece, num_buckets) for piece in pieces]
    found = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int32)
    for row, grams in zip(found, rows, strict=True):
        row[: len(grams)] = grams
    return found


def _hashed(piece: str, num_buckets: int) -> list[int]:
    text = f"{piece.removeprefix(_CONTINUED)} " if piece.startswith(_CONTINUED) else f" {piece} "
    runs = (
        text[start : start + length]
        for length in range(SHORTEST, LONGEST + 1)
        for start in range(len(text) - length + 1)
    )
    # Not Python's own hash, which differs from process to process
    hashed = [zlib.crc32(run.encode("utf-8", "surrogatepass")) % num_buckets for run in runs]
    return hashed[:MOST_GRAMS]
