"""Answers to CSV, Parquet or JSONL, row by row, under a temporary name until all are written."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from omnifuse.data.numbers import parse_number
from omnifuse.errors import InputError

SUFFIXES = (".csv", ".parquet", ".jsonl")
_CHUNK = 4096


def escape_formula(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay.

    Example:
        >>> escape_formula("=1+1"), escape_formula("-3.5"), escape_formula("ok")
        ("'=1+1", '-3.5', 'ok')
    """
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") and math.isnan(parse_number(cell)):
        return "'" + cell
    return cell


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A temporary path that becomes `out` if all goes well and vanishes otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    try:
        yield temporary
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _write_csv(rows: Iterable[dict[str, Any]], handle: TextIO) -> None:
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            names = {name: escape_formula(name) for name in row}
            writer = csv.DictWriter(handle, list(row), lineterminator="\n")
            handle.write(",".join(_quoted(name) for name in names.values()) + "\n")
        writer.writerow({name: escape_formula(cell) for name, cell in row.items()})


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(mark in name for mark in ',"\n\r') else name


def _write_jsonl(rows: Iterable[dict[str, Any]], handle: TextIO) -> None:
    for row in rows:
        handle.write(json.dumps(row, ensure_ascii=False, default=str, allow_nan=False) + "\n")


def _write_parquet(rows: Iterable[dict[str, Any]], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    writer: Any = None
    waiting: list[dict[str, Any]] = []

    def flush() -> None:
        nonlocal writer
        if not waiting:
            return
        if writer is None:
            block = pyarrow.Table.from_pylist(waiting)
            # A column that is all None so far would fix the type "null"
            types = [f.with_type(pyarrow.string()) if pyarrow.types.is_null(f.type) else f for f in block.schema]
            writer = pyarrow.parquet.ParquetWriter(path, pyarrow.schema(types))
        writer.write_table(pyarrow.Table.from_pylist(waiting, schema=writer.schema))
        waiting.clear()

    try:
        for row in rows:
            waiting.append(row)
            if len(waiting) >= _CHUNK:
                flush()
        flush()
    finally:
        if writer is not None:
            writer.close()


def write_rows(rows: Iterable[dict[str, Any]], out: Path) -> None:
    """Write rows that all have the same columns.

    Args:
        rows: In the order in which they are written; read once, held one piece at a time.
        out: Ends in .csv, .parquet or .jsonl; replaced only when all rows are written.

    Raises:
        InputError: The ending is another, or there is no row.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"answers are not written to '{out.name}'", fix="Name it " + ", ".join("OUT" + s for s in SUFFIXES)
        )
    text_writers: dict[str, Callable[[Iterable[dict[str, Any]], TextIO], None]] = {
        ".csv": _write_csv,
        ".jsonl": _write_jsonl,
    }
    with _replacing(out) as temporary:
        if suffix == ".parquet":
            _write_parquet(rows, temporary)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as handle:
                text_writers[suffix](rows, handle)
