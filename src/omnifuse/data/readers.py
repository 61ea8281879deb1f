"""Files of tables: checked for what breaks parsers before a parser sees them, with the number of the bad line."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from omnifuse.errors import InputError

MAX_COLUMNS = 10_000
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_CELL_BYTES = 16 * 1024 * 1024
# Files larger than this are scanned, not loaded
MAX_LOADED_BYTES = 64 * 1024 * 1024
MAX_LOADED_CELLS = 50_000_000
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
MAX_UNPACKED_RATIO = 100
# Rows of a Parquet file that are decoded at once to see whether it is whole
_CHECKED_ROWS = 1024
_BLOCK = 4 * 1024 * 1024
_MAX_BLANK_BYTES = 1024 * 1024
_BOUNDS = (b",", b";", b"\t", b"|", b"\n", b"\r")
_LARGE_FIX = "Look for a quote that is never closed, or put large contents into files of their own"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "a gzip archive",
    b"BZh91AY&SY": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"(\xb5/\xfd": "a zstd archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1\x15": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
}


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            yield block


def _check_start(path: Path, start: bytes) -> None:
    """Refuse what is no text at all."""
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            fix = "Name it .parquet" if magic.startswith(b"PAR1") else "Unpack it, or save the sheet as CSV"
            raise InputError(f"{path.name} is {what}, not text", fix=fix)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path.name} is written in UTF-16", fix="Save it as UTF-8")


def _opens_cell(block: bytes, at: int) -> bool:
    """Whether the quote at that place begins a cell: it stands behind a separator and before the cell's text."""
    return (block[at - 1 : at] or b"\n") in _BOUNDS and block[at + 1 : at + 2] not in (*_BOUNDS, b'"', b"")


def _check_text(path: Path) -> None:
    """Refuse what no parser of text survives: NUL bytes, other encodings, endless lines and cells; names the line."""
    line, run, tail = 1, 0, b""
    open_line, quiet = 0, 0
    for number, block in enumerate(_blocks(path)):
        if number == 0:
            _check_start(path, block[:12])
        at = block.find(b"\0")
        if at >= 0:
            raise InputError(
                f"{path.name} has a NUL byte in line {line + block.count(10, 0, at)}", fix="Save it as plain UTF-8 text"
            )
        quote = block.rfind(b'"')
        if quote >= 0:
            open_line = line + block.count(10, 0, quote) if _opens_cell(block, quote) else 0
        quiet = len(block) - quote - 1 if quote >= 0 else quiet + len(block)
        line = _check_utf8(path, tail + block, line)
        tail = _incomplete(tail + block)
        first, last = block.find(b"\n"), block.rfind(b"\n")
        run = run + len(block) if first < 0 else len(block) - last - 1
        _check_lengths(path, line, run, open_line=open_line, quiet=quiet)
    if tail:
        raise _not_utf8(path, line, tail[0])


def _check_lengths(path: Path, line: int, run: int, *, open_line: int, quiet: int) -> None:
    """Refuse a line, or a quoted cell of many lines, that has no end: `run` and `quiet` are its bytes so far."""
    if run > MAX_LINE_BYTES:
        what = f"line {line} of {path.name} is longer than {MAX_LINE_BYTES >> 20} MB"
    elif open_line and quiet > MAX_CELL_BYTES:
        what = f"line {open_line} of {path.name} opens a quote that is not closed within {MAX_CELL_BYTES >> 20} MB"
    else:
        return
    raise InputError(what, fix=_LARGE_FIX)


def _incomplete(data: bytes) -> bytes:
    """The start of a UTF-8 character that the block's end cuts off."""
    for length in range(1, min(4, len(data) + 1)):
        byte = data[-length]
        if byte < 0x80:
            return b""
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[-length:] if size > length else b""
    return b""


def _check_utf8(path: Path, data: bytes, line: int) -> int:
    """The number of the line in which `data`, which begins in the given line, ends."""
    whole = data[: len(data) - len(_incomplete(data))]
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, line + whole.count(10, 0, error.start), whole[error.start]) from None
    return line + data.count(10)


def _not_utf8(path: Path, line: int, byte: int) -> InputError:
    return InputError(
        f"line {line} of {path.name} is not UTF-8 text (byte 0x{byte:02x})",
        fix="Save the whole file as UTF-8; parts of it may be in another encoding",
    )


def _header(path: Path) -> tuple[list[str], str]:
    """Column names and the separator."""
    with path.open("r", encoding="utf-8-sig", newline="") as handle:
        start = handle.readline(MAX_CELL_BYTES)
        if not start.strip():
            what = "has no header" if start else "is empty"
            raise InputError(f"{path.name} {what}", fix="Give a table with a header line")
        if start.endswith("\r") and start.count('"') % 2 == 0:
            raise InputError(
                f"{path.name} ends its lines with a carriage return alone, as old Macs did", fix="Save it as plain CSV"
            )
        separator = "\t" if path.suffix.lower() in (".tsv", ".tab") else max(",;\t|", key=start.count)
        if start.count(separator) >= MAX_COLUMNS:
            raise InputError(
                f"line 1 of {path.name} has more than {MAX_COLUMNS} columns", fix="Turn rows and columns round"
            )
        names = _names(path, itertools.chain([start], handle), separator)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"line 1 of {path.name} names the column '{repeated[0]}' twice", fix="Rename one of them")
    return names, separator


def _names(path: Path, lines: Iterator[str], separator: str) -> list[str]:
    with _cell_limit():
        try:
            names = [name.strip() for name in next(csv.reader(lines, delimiter=separator))]
        except csv.Error as error:
            raise InputError(f"the header of {path.name} cannot be read: {error}", fix="Mend line 1") from None
    # The unnamed first column is what pandas writes for its index
    return [name or f"column_{number + 1}" for number, name in enumerate(names)]


@contextmanager
def _cell_limit() -> Iterator[None]:
    before = csv.field_size_limit(MAX_CELL_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _first_fault(handle: TextIO, separator: str, width: int, *, strict: bool) -> tuple[int, str] | None:
    """The first line that starts a damaged row, and what is wrong with it."""
    reader = csv.reader(handle, delimiter=separator, strict=strict)
    line = 1
    with _cell_limit():
        try:
            for row in reader:
                if row and len(row) != width:
                    return line, f"has {len(row)} cells, the header has {width}"
                line = reader.line_num + 1
        except csv.Error as error:
            is_open = "unexpected end of data" in str(error)
            return line, "opens a quote that is never closed" if is_open else f"cannot be read: {error}"
    return None


def _explain(path: Path, separator: str, width: int, error: Exception) -> InputError:
    """Find the line that the parser choked on."""
    with path.open("r", encoding="utf-8-sig", newline="") as handle:
        fault = _first_fault(handle, separator, width, strict=True)
    if fault is not None:
        fix = "Quote cells that contain the separator or a quote, or mend the line"
        return InputError(f"line {fault[0]} of {path.name} {fault[1]}", fix=fix)
    stray = _stray_quote(path, separator)
    if stray:
        what = f"line {stray} of {path.name} has a quote inside of a cell that does not begin with one"
        return InputError(what, fix='Write such a cell as "5"" disk", or take the quote out')
    return InputError(f"{path.name} cannot be read: {str(error).splitlines()[0]}", fix="Save it as plain CSV")


def _stray_quote(path: Path, separator: str) -> int:
    """The first line with such a cell, 0 where there is none; looked for only where a file cannot be read."""
    mark = re.escape(separator)
    stray = re.compile(rf'(?:^|{mark})[^"{mark}]+"')
    with path.open("r", encoding="utf-8-sig", newline="") as handle:
        return next((line for line, text in enumerate(handle, 1) if stray.search(text)), 0)


def _trailing_blank_lines(path: Path) -> int:
    """Empty lines at the end of the file: they are no rows."""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - _MAX_BLANK_BYTES))
        end = handle.read()
    return max(0, end[len(end.rstrip(b"\r\n")) :].count(b"\n") - 1)


def read_csv(path: Path) -> pl.DataFrame | pl.LazyFrame:
    """Read or scan a CSV or TSV file; every cell stays text.

    Blank lines at the end are no rows; a blank line between others is a row whose cells are all missing.

    Raises:
        InputError: Names the line that is damaged.
    """
    _check_text(path)
    names, separator = _header(path)
    lazy = pl.scan_csv(
        path, separator=separator, infer_schema=False, encoding="utf8", new_columns=names, glob=False, low_memory=True
    )
    try:
        frame = lazy if is_large(path) else lazy.collect()
        facts = frame.lazy().select(
            pl.len().alias("rows"),
            pl.col(names[-1]).null_count().alias("open"),
            pl.max_horizontal(pl.all().str.len_bytes().max()).alias("longest"),
        )
        num_rows, num_open, longest = facts.collect().row(0)
    except pl.exceptions.PolarsError as error:
        raise _explain(path, separator, len(names), error) from None
    if (longest or 0) > MAX_CELL_BYTES:
        raise _large_cell(path, frame)
    blank = _trailing_blank_lines(path)
    if num_open > blank and len(names) > 1:
        _refuse_short_rows(path, separator, len(names))
    return frame.head(num_rows - blank) if blank else frame


def _large_cell(path: Path, frame: pl.DataFrame | pl.LazyFrame) -> InputError:
    sizes = frame.lazy().select(pl.max_horizontal(pl.all().str.len_bytes()).alias("size")).collect()["size"]
    return InputError(
        f"row {(sizes.arg_max() or 0) + 1} of {path.name} has a cell of more than {MAX_CELL_BYTES >> 20} MB",
        fix=_LARGE_FIX,
    )


def _refuse_short_rows(path: Path, separator: str, width: int) -> None:
    """Polars fills short rows with nulls; a row that lost cells must not pass for one with holes."""
    with path.open("r", encoding="utf-8-sig", newline="") as handle:
        fault = _first_fault(handle, separator, width, strict=False)
    if fault is not None:
        raise InputError(
            f"line {fault[0]} of {path.name} {fault[1]}", fix="Write a separator for every empty cell, or mend the line"
        )


def _check_unpacked(path: Path, lazy: pl.LazyFrame) -> None:
    """One long text that repeats a million times takes next to no room in the file."""
    schema = lazy.collect_schema().items()
    texts = [pl.col(name).str.len_bytes() for name, kind in schema if kind == pl.String]
    levels = [pl.col(name).cat.len_bytes() for name, kind in schema if kind in (pl.Categorical, pl.Enum)]
    blobs = [pl.col(name).bin.size() for name, kind in schema if kind == pl.Binary]
    measured = [size.cast(pl.UInt64) for size in texts + levels + blobs]
    if not measured:
        return
    longest, total = (
        lazy.select(
            pl.max_horizontal([size.max() for size in measured]).alias("longest"),
            pl.sum_horizontal([size.sum() for size in measured]).alias("total"),
        )
        .collect(engine="streaming")
        .row(0)
    )
    if (longest or 0) > MAX_CELL_BYTES:
        raise InputError(f"{path.name} has a cell of more than {MAX_CELL_BYTES >> 20} MB", fix="Put it into a file")
    if (total or 0) > max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * path.stat().st_size):
        raise InputError(f"{path.name} unpacks to {total >> 20} MB", fix="Put large repeated contents into files")


def _check_pages(path: Path) -> None:
    """Let Arrow decode every page first: it refuses damage for which Polars ends the whole process.

    Raises:
        ArrowException: A page is damaged.
        OSError: Likewise.
    """
    import pyarrow
    import pyarrow.parquet

    is_text = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_binary)
    schema = pyarrow.parquet.read_schema(path)
    # As codes of a dictionary: a long text that repeats takes as little room as in the file
    texts = [item.name for item in schema if any(known(item.type) for known in is_text)]
    try:
        for _ in pyarrow.parquet.ParquetFile(path, read_dictionary=texts).iter_batches(_CHECKED_ROWS):
            pass
    except pyarrow.ArrowNotImplementedError:
        return  # what Arrow does not know, it cannot judge


def read_parquet(path: Path) -> pl.DataFrame | pl.LazyFrame:
    """Read or scan a Parquet file.

    Raises:
        InputError: It is damaged, has too many columns, or unpacks to far more than it holds.
    """
    import pyarrow
    import pyarrow.parquet

    damage = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pyarrow.ArrowException, OSError, ValueError)
    try:
        about = pyarrow.parquet.read_metadata(path)
        # Repeated values take next to no room in the file, so its size says nothing about that of the table
        size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
        is_small = size <= MAX_LOADED_BYTES and about.num_rows * about.num_columns <= MAX_LOADED_CELLS
        if about.num_columns > MAX_COLUMNS:
            raise InputError(f"{path.name} has {about.num_columns} columns, more than {MAX_COLUMNS}", fix="Drop some")
        if is_small:
            _check_pages(path)
        lazy = pl.scan_parquet(path, glob=False)
        _check_unpacked(path, lazy)
        return lazy.collect() if is_small else lazy
    except damage as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"{path.name} is not a Parquet file that can be read: {reason}", fix="Write it again"
        ) from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names '{next(name for name in names if names.count(name) > 1)}' twice")
    return found


def _json_object(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text, parse_constant=lambda name: None, object_pairs_hook=_unique_names)
    except json.JSONDecodeError as error:
        what = f"{where} is not JSON: {error.msg} at character {error.pos + 1}"
        raise InputError(what, fix="Mend the line") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} cannot be read: {error}", fix="Mend the line") from None
    if not isinstance(row, dict):
        raise InputError(f"{where} is not a JSON object", fix="Write {...} on each line")
    return row


def is_large(path: Path) -> bool:
    """Whether a text file is scanned, not loaded."""
    return path.stat().st_size > MAX_LOADED_BYTES


def too_many_columns(columns: Sized, where: str) -> None:
    """Refuse rows that all bring names of their own."""
    if len(columns) > MAX_COLUMNS:
        raise InputError(f"{where} brings more than {MAX_COLUMNS} columns", fix="Nest them")


def json_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The objects of a file with one JSON object a line, each behind the words that name its line and the line's size.

    Raises:
        InputError: Names the line that is damaged.
    """
    _check_text(path)
    with path.open("r", encoding="utf-8-sig") as handle:
        for number, line in enumerate(handle, 1):
            if line.strip():
                where = f"line {number} of {path.name}"
                yield where, len(line), _json_object(line, where)


def read_jsonl(path: Path) -> dict[str, list[Any]]:
    """Read a whole file with one JSON object a line.

    Raises:
        InputError: Names the line that is damaged.
    """
    columns: dict[str, list[Any]] = {}
    for count, (where, _, row) in enumerate(json_rows(path)):
        for name in row:
            if name not in columns:
                columns[name] = [None] * count
        too_many_columns(columns, where)
        for name, cells in columns.items():
            cells.append(row.get(name))
    return columns
