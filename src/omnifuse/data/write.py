"""Answers to CSV, Parquet or JSONL, row by row, under a temporary name of their own until all are written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from omnifuse.data.numbers import parse_number
from omnifuse.errors import InputError
from omnifuse.files import replacing

SUFFIXES = (".csv", ".parquet", ".jsonl")
_CHUNK = 4096
# The last four are the full-width forms, which some spreadsheets read as the plain ones
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def escape_formula(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay.

    Example:
        >>> escape_formula("=1+1"), escape_formula("-3.5"), escape_formula("ok")
        ("'=1+1", '-3.5', 'ok')
    """
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) and math.isnan(parse_number(cell)):
        return "'" + cell
    return cell


def _plain(cell: Any) -> Any:
    """A cell that every format can hold: numpy's numbers are Python's, NaN is missing, lone surrogates are "?"."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, str):
        return cell if cell.isascii() else cell.encode("utf-8", "replace").decode()
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    return None if isinstance(cell, float) and math.isnan(cell) else cell


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """As `files.replacing`, in a folder that is made where absent; the system's complaints become ours."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            yield temporary
    except OSError as error:
        what = f"'{out}' cannot be written: {error.strerror or error}"
        raise InputError(what, fix="Check the folder, its rights and the free space") from error


def _csv_line(cells: Iterable[Any]) -> str:
    texts = [_csv_text(cell) for cell in cells]
    # A line without any mark would be a blank one, which is no row
    return (",".join(texts) or '""') + "\n"


def _csv_text(cell: Any) -> str:
    cell = _plain(cell)
    if cell is None:
        return ""
    text = str(cell) if isinstance(cell, bool | int | float) else str(escape_formula(str(cell)))
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text


def _write_csv(rows: Iterable[dict[str, Any]], handle: TextIO) -> None:
    for number, row in enumerate(rows):
        if number == 0:
            handle.write(_csv_line(row))
        handle.write(_csv_line(row.values()))


def _json_value(cell: Any) -> Any:
    cell = _plain(cell)
    if isinstance(cell, float) and math.isinf(cell):
        return None
    if isinstance(cell, list | tuple):
        return [_json_value(part) for part in cell]
    return cell


def _write_jsonl(rows: Iterable[dict[str, Any]], handle: TextIO) -> None:
    for row in rows:
        plain = {_plain(name): _json_value(cell) for name, cell in row.items()}
        handle.write(json.dumps(plain, ensure_ascii=False, default=str, allow_nan=False) + "\n")


def _parquet_column(cells: list[Any]) -> Any:
    """A typed array; text where the cells have no type in common, or all are missing."""
    import pyarrow

    plain = [_plain(cell) for cell in cells]
    try:
        array = pyarrow.array(plain)
    except (pyarrow.ArrowException, OverflowError):
        array = pyarrow.array([None if cell is None else str(cell) for cell in plain], pyarrow.string())
    return array.cast(pyarrow.string()) if pyarrow.types.is_null(array.type) else array


def _common_type(one: Any, two: Any, *, is_empty: bool) -> Any:
    """The type that holds both: that of the other where one held nothing, else a wider number, else text."""
    import pyarrow

    is_number = pyarrow.types.is_integer, pyarrow.types.is_floating
    if one == two or is_empty:
        return two
    both = all(any(test(kind) for test in is_number) for kind in (one, two))
    return pyarrow.float64() if both else pyarrow.string()


class _ParquetWriter:
    """Blocks of rows to one file; where a block needs wider types than those before, these are written again."""

    def __init__(self, path: Path) -> None:
        self.path, self.writer = path, None
        self.schema: Any = None
        self.filled: dict[str, bool] = {}

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows."""
        import pyarrow

        block = pyarrow.table({_plain(name): _parquet_column([row[name] for row in rows]) for name in rows[0]})
        if self.schema is None:
            self._open(self.path, block.schema)
        wider = [self._wider(field, block) for field in self.schema]
        if any(one.type != two.type for one, two in zip(wider, self.schema, strict=True)):
            self._write_again(pyarrow.schema(wider))
        assert self.writer is not None
        self.writer.write_table(_cast(block, self.schema))
        for name in block.column_names:
            self.filled[name] = self.filled.get(name, False) or block[name].null_count < len(block)

    def _wider(self, field: Any, block: Any) -> Any:
        if block[field.name].null_count == len(block):
            return field
        is_empty = not self.filled.get(field.name, False)
        return field.with_type(_common_type(field.type, block[field.name].type, is_empty=is_empty))

    def _open(self, path: Path, schema: Any) -> None:
        import pyarrow.parquet

        self.schema, self.writer = schema, pyarrow.parquet.ParquetWriter(path, schema)

    def _write_again(self, schema: Any) -> None:
        import pyarrow
        import pyarrow.parquet

        self.close()
        before = self.path.with_name(self.path.name + ".before")
        self.path.replace(before)
        try:
            self._open(self.path, schema)
            with pyarrow.parquet.ParquetFile(before) as file:
                for batch in file.iter_batches(_CHUNK):
                    assert self.writer is not None
                    self.writer.write_table(_cast(pyarrow.Table.from_batches([batch]), schema))
        finally:
            before.unlink(missing_ok=True)

    def close(self) -> None:
        """Write the end of the file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def _cast(block: Any, schema: Any) -> Any:
    """The columns in the types of the schema; lists become text through Python."""
    import pyarrow

    columns = []
    for field in schema:
        column = block[field.name]
        if column.null_count == len(column):
            columns.append(pyarrow.nulls(len(column), field.type))
        elif column.type != field.type and pyarrow.types.is_string(field.type):
            texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
            columns.append(pyarrow.array(texts, pyarrow.string()))
        else:
            columns.append(column.cast(field.type, safe=False))
    return pyarrow.Table.from_arrays(columns, schema=schema)


def _write_parquet(rows: Iterable[dict[str, Any]], path: Path) -> None:
    writer = _ParquetWriter(path)
    waiting: list[dict[str, Any]] = []
    try:
        for row in rows:
            waiting.append(row)
            if len(waiting) >= _CHUNK:
                writer.write(waiting)
                waiting.clear()
        if waiting:
            writer.write(waiting)
    finally:
        writer.close()


def write_rows(rows: Iterable[dict[str, Any]], out: Path) -> None:
    """Write rows that all have the same columns.

    NaN is written as missing. In CSV, texts that a spreadsheet would run as formulas get an apostrophe in front, in the
    header too.

    Args:
        rows: In the order in which they are written; read once, held one piece at a time.
        out: Ends in .csv, .parquet or .jsonl; replaced only when all rows are written.

    Raises:
        InputError: The ending is another, there is no row, or the file cannot be written.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        endings = ", ".join("OUT" + ending for ending in SUFFIXES)
        raise InputError(f"answers are not written to '{out.name}'", fix=f"Name it {endings}")
    text_writers: dict[str, Callable[[Iterable[dict[str, Any]], TextIO], None]] = {
        ".csv": _write_csv,
        ".jsonl": _write_jsonl,
    }
    with _replacing(out) as temporary:
        if suffix == ".parquet":
            _write_parquet(_some(rows, out), temporary)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as handle:
                text_writers[suffix](_some(rows, out), handle)


def _some(rows: Iterable[dict[str, Any]], out: Path) -> Iterator[dict[str, Any]]:
    """The rows, at least one."""
    number = -1
    for number, row in enumerate(rows):  # noqa: B007 - tells whether there was any
        yield row
    if number < 0:
        raise InputError(f"there is no row to write to '{out.name}'", fix="Give a table with at least one row")
