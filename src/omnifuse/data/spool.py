"""JSONL files too large to be held: checked once, then laid out as a temporary Parquet file that is scanned."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from omnifuse.data.readers import json_rows, too_many_columns
from omnifuse.errors import InputError

# What is written, and later read, at once
_PIECE_ROWS, _PIECE_BYTES = 1024, 512 * 1024
_PLAIN = (str, int, float, bool)


@dataclass
class _Column:
    """What a column's type hangs on: the first cell of each type, the outermost integers, an odd text."""

    firsts: dict[type, Any] = field(default_factory=dict)
    least: int = 0
    greatest: int = 0
    odd: str = ""

    def see(self, cell: Any) -> None:
        """Take one cell into account."""
        if cell is None:
            return
        kind = type(cell)
        if kind not in self.firsts:
            self.firsts[kind] = cell if kind in _PLAIN else None
        if kind is int:
            self.least, self.greatest = min(self.least, cell), max(self.greatest, cell)
        elif kind is str and not self.odd and not _is_unicode(cell):
            self.odd = cell

    def type(self) -> pl.DataType | None:
        """As a loaded table has it; None where polars holds no such column and each cell is written as JSON."""
        if not set(self.firsts) <= set(_PLAIN) or self.odd:
            return None
        if not self.firsts:
            return pl.String()
        cells = [*self.firsts.values(), *((self.least, self.greatest) if int in self.firsts else ())]
        try:
            found = pl.Series(cells, strict=True).dtype
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            return None
        # Wider integers come back from JSON as they went
        return found if found in (pl.String, pl.Int64, pl.Float64, pl.Boolean) else None


class Spool:
    """A temporary folder that goes when nobody holds the spool any more, at the end of the process at the latest."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="omnifuse-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Spooled:
    """A scanned table.

    Attributes:
        frame: Over the temporary file.
        encoded: Columns whose cells are JSON text: lists, objects, and cells of several types.
        spool: Holds the file; the frame is good as long as this lives.
    """

    frame: pl.LazyFrame
    encoded: frozenset[str]
    spool: Spool


def spool_jsonl(path: Path) -> Spooled | None:
    """Lay a JSONL file out on disk; never more than a few megabytes of it are in memory.

    Returns:
        The table; None where it has no rows, or a column's name is no Unicode, which only a loaded table can hold.

    Raises:
        InputError: Names the line that is damaged, or the temporary folder that has no room.
    """
    columns: dict[str, _Column] = {}
    for where, _, row in json_rows(path):
        for name, cell in row.items():
            if name not in columns:
                columns[name] = _Column()
                too_many_columns(columns, where)
            columns[name].see(cell)
    if not columns or not all(_is_unicode(name) for name in columns):
        return None
    types = {name: column.type() for name, column in columns.items()}
    try:
        spool = Spool()
        out = spool.folder / "table.parquet"
        _write(_pieces(path, types), out)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be laid out in {tempfile.gettempdir()}: {error.strerror or error}",
            fix="Set TMPDIR to a folder with more room, or save the table as Parquet",
        ) from None
    encoded = frozenset(name for name, kind in types.items() if kind is None)
    return Spooled(pl.scan_parquet(out, glob=False), encoded, spool)


def _is_unicode(text: str) -> bool:
    """Whether a text can be written at all: lone surrogates cannot."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode()


def _pieces(path: Path, types: dict[str, pl.DataType | None]) -> Iterator[pl.DataFrame]:
    """The rows, a piece at a time."""
    waiting: list[dict[str, Any]] = []
    size = 0
    for _, length, row in json_rows(path):
        waiting.append(row)
        size += length
        if len(waiting) >= _PIECE_ROWS or size >= _PIECE_BYTES:
            yield _piece(waiting, types)
            waiting, size = [], 0
    if waiting:
        yield _piece(waiting, types)


def _piece(rows: list[dict[str, Any]], types: dict[str, pl.DataType | None]) -> pl.DataFrame:
    series = []
    for name, kind in types.items():
        cells = [row.get(name) for row in rows]
        if kind is None:
            cells = [None if cell is None else json.dumps(cell) for cell in cells]
        series.append(pl.Series(name, cells, dtype=kind or pl.String(), strict=False))
    return pl.DataFrame(series)


def _write(pieces: Iterator[pl.DataFrame], out: Path) -> None:
    import pyarrow.parquet

    writer: Any = None
    try:
        for piece in pieces:
            block = piece.to_arrow()
            writer = writer or pyarrow.parquet.ParquetWriter(out, block.schema)
            writer.write_table(block)
    finally:
        if writer is not None:
            writer.close()
