"""Which rows show the same: codes that are equal where ids, or what was decoded of a field, are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from omnifuse.data.categories import category_text
from omnifuse.data.pack import Pack


def id_codes(cells: Sequence[Any]) -> np.ndarray:
    """(R,) int64, equal for cells of equal text; -1 where a cell is missing, which equals nothing.

    Example:
        >>> id_codes(["a", None, "b", "a"]).tolist()
        [0, -1, 1, 0]
    """
    return _numbered([None if cell is None else category_text(cell) for cell in cells])


def content_codes(pack: Pack) -> np.ndarray:
    """(R,) int64, equal for rows of which the same was decoded; -1 where a row lacks the field."""
    keys: list[bytes | None] = []
    for row, present in enumerate(pack.present.tolist()):
        if not present:
            keys.append(None)
            continue
        digest = hashlib.blake2b(digest_size=16)
        for array in pack.row(row).values():
            digest.update(np.ascontiguousarray(array).tobytes())
        keys.append(digest.digest())
    return _numbered(keys)


def num_repeated(codes: np.ndarray) -> int:
    """How many rows show what another row shows too.

    Example:
        >>> num_repeated(np.array([0, -1, 1, 0, -1]))
        2
    """
    counts = np.bincount(codes[codes >= 0]) if (codes >= 0).any() else np.zeros(0, np.int64)
    return int(counts[counts > 1].sum())


def _numbered(keys: Sequence[Any]) -> np.ndarray:
    numbers: dict[Any, int] = {}
    return np.array([-1 if key is None else numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
