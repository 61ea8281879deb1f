"""Category cells: exact texts to level numbers, with places for unknown and missing ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from omnifuse.errors import InputError

UNKNOWN_LEVEL, MISSING_LEVEL, FIRST_LEVEL = 0, 1, 2
_LONGEST_LEVEL = 1000


def category_text(cell: Any) -> str:
    """The level text of a cell: exact, so "03" is not "3".

    A whole number of a typed frame gives the same text as in a CSV file: 3, 3.0 and numpy's int64(3) are "3"
    (frames turn integers into floats where a cell is missing). Booleans are "True" and "False". Texts are taken as
    they are: "3.0" stays "3.0".

    Example:
        >>> [category_text(cell) for cell in ("03", 3, 3.0, 2.5, True)]
        ['03', '3', '3', '2.5', 'True']
    """
    if isinstance(cell, str):
        return cell[:_LONGEST_LEVEL]
    if isinstance(cell, bytes | bytearray):
        return bytes(cell[:_LONGEST_LEVEL]).decode("utf-8", "replace")
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)[:_LONGEST_LEVEL]


@dataclass(frozen=True)
class CategoryColumn:
    """The levels of one category column.

    Args:
        name: The column.
        levels: Known texts; their numbers start at 2. Number 0 is any unknown or rare text, 1 a missing cell.
    """

    name: str
    levels: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, cells: Sequence[Any], *, min_count: int = 2, max_levels: int = 10_000) -> CategoryColumn:
        """Learn the levels from training cells; None is a missing cell.

        Args:
            name: The column.
            cells: Training cells.
            min_count: Levels that occur less often share number 0, which so is trained too.
            max_levels: Beyond these the least frequent levels share number 0.

        Raises:
            InputError: `min_count` or `max_levels` is below 1.
        """
        if min_count < 1 or max_levels < 1:
            raise InputError(f"min_count and max_levels must be at least 1, received {min_count} and {max_levels}")
        # Counting the raw cells first keeps a million equal cells from being turned into text one by one
        counts: Counter[str] = Counter()
        for cell, count in _counted(cells).items():
            counts[category_text(cell)] += count
        kept = [text for text, count in counts.items() if count >= min_count]
        return cls(name, tuple(sorted(kept, key=lambda text: (-counts[text], text))[:max_levels]))

    @property
    def cardinality(self) -> int:
        """Number of indices, unknown and missing included."""
        return FIRST_LEVEL + len(self.levels)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {text: FIRST_LEVEL + position for position, text in enumerate(self.levels)}

    def index(self, cell: Any) -> int:
        """Number of the level of a cell; None gives 1."""
        return MISSING_LEVEL if _is_missing(cell) else self._index.get(category_text(cell), UNKNOWN_LEVEL)

    def indices(self, cells: Sequence[Any]) -> np.ndarray:
        """Numbers of the levels of many cells, int32 (R,)."""
        return np.fromiter((self.index(cell) for cell in cells), dtype=np.int32, count=len(cells))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"name": self.name, "levels": list(self.levels)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CategoryColumn:
        """Inverse of `to_json`."""
        return cls(str(data["name"]), tuple(str(level) for level in data["levels"]))


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell)


def _counted(cells: Sequence[Any]) -> Counter[Any]:
    """How often each cell occurs; cells that cannot be hashed are counted as their text."""
    present = [cell for cell in cells if not _is_missing(cell)]
    kinds = set(map(type, present))
    # True == 1 == 1.0 in a Counter, yet they are different levels: mixed columns are counted as texts
    if len(kinds) == 1 and next(iter(kinds)) in (str, int, bool):
        return Counter(present)
    return Counter(category_text(cell) for cell in present)
