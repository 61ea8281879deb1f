"""The columns beside the vectors: each of one kind, so that filters mean the same in every part of an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl

from omnifuse.data.categories import category_text
from omnifuse.data.date import parse_date
from omnifuse.data.kinds import judge
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.targets import tag_texts
from omnifuse.errors import InputError
from omnifuse.schema import Modality

_JUDGED_CELLS = 2000
_LONGEST_TEXT = 100_000
_TRUTHS = {"true": True, "false": False}


class ColumnKind(StrEnum):
    """What a column of an index holds; a date is kept as seconds since 1970-01-01 UTC."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    TAGS = "tags"
    FLAG = "flag"

    @property
    def dtype(self) -> pl.DataType:
        """How polars holds it."""
        return {
            ColumnKind.NUMBER: pl.Float64(),
            ColumnKind.DATE: pl.Int64(),
            ColumnKind.TAGS: pl.List(pl.String()),
            ColumnKind.FLAG: pl.Boolean(),
        }.get(self, pl.String())


def column_kind(name: str, cells: Sequence[Any], modality: Modality | None = None) -> ColumnKind:
    """What a column is kept as.

    Args:
        name: Its name.
        cells: Some of its cells, None where missing.
        modality: What a model reads it as, where one does.

    Example:
        >>> column_kind("price", ["3", "4.5"]), column_kind("code", ["03", "04"])
        (<ColumnKind.NUMBER: 'number'>, <ColumnKind.TEXT: 'text'>)
    """
    known = [cell for cell in cells if cell is not None][:_JUDGED_CELLS]
    if known and all(_truth(cell) is not None for cell in known):
        return ColumnKind.FLAG
    if modality is None:
        judged = judge(name, known)
        modality = judged.modality
        if judged.role in ("id", "group") and known and not any(isinstance(cell, str) for cell in known):
            modality = Modality.NUMBER
    return {
        Modality.NUMBER: ColumnKind.NUMBER,
        Modality.DATE: ColumnKind.DATE,
        Modality.TAGS: ColumnKind.TAGS,
    }.get(modality, ColumnKind.TEXT) if modality is not None else ColumnKind.TEXT  # fmt: skip


def typed_column(name: str, cells: Sequence[Any], kind: ColumnKind) -> tuple[pl.Series, int]:
    """Cells as a column of this kind.

    Returns:
        The column, and how many cells were there but could not be kept: they are missing in it.
    """
    found = [None if cell is None else _kept(cell, kind) for cell in cells]
    if kind is ColumnKind.NUMBER:
        numbers = parse_numbers(cells)
        found = [None if np.isnan(number) else float(number) for number in numbers]
    lost = sum(cell is not None and kept is None for cell, kept in zip(cells, found, strict=True))
    return pl.Series(name, found, dtype=kind.dtype, strict=False), lost


def typed_frame(
    columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, ColumnKind]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Columns in their kinds.

    Args:
        columns: Column name to cells, all equally many.
        kinds: Column name to kind; of every column.

    Returns:
        The frame, and column name to the number of cells that could not be kept, where there were any.
    """
    made = {name: typed_column(name, cells, kinds[name]) for name, cells in columns.items()}
    lost = {name: count for name, (_, count) in made.items() if count}
    return pl.DataFrame([series for series, _ in made.values()]), lost


def _truth(cell: Any) -> bool | None:
    if isinstance(cell, bool | np.bool_):
        return bool(cell)
    return _TRUTHS.get(cell.strip().lower()) if isinstance(cell, str) else None


def _kept(cell: Any, kind: ColumnKind) -> Any:
    """The cell as its column holds it, None where that cannot be; numbers are read all at once elsewhere."""
    if kind is ColumnKind.FLAG:
        return _truth(cell)
    if kind is ColumnKind.DATE:
        try:
            return parse_date(cell)
        except InputError:
            return None
    if isinstance(cell, bytes | bytearray | np.ndarray) or type(cell).__module__.startswith("PIL."):
        return None  # a medium in memory: there is no path to show it by
    if kind is ColumnKind.TAGS:
        tags = tag_texts(cell)
        return None if tags is None else [_plain(tag) for tag in tags]
    if isinstance(cell, list | tuple | set | frozenset):
        if any(isinstance(part, bytes | bytearray | np.ndarray) for part in cell):
            return None
        return _plain(" | ".join(str(part) for part in cell if part is not None))
    return _plain(cell[:_LONGEST_TEXT] if isinstance(cell, str) else category_text(cell))


def _plain(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
