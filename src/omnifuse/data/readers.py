"""Files of tables: checked for what breaks parsers before a parser sees them, with the number of the bad line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from omnifuse.errors import InputError

MAX_COLUMNS = 10_000
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_CELL_BYTES = 16 * 1024 * 1024
# Files larger than this are scanned, not loaded
MAX_LOADED_BYTES = 64 * 1024 * 1024
_BLOCK = 4 * 1024 * 1024
PARTS = ("train", "dev", "test")
_PART_NAMES = {"train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}
_FILE_COLUMNS = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au"), "audio"),
    ".txt": "text",
}


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            yield block


def _check_text(path: Path) -> None:
    """Refuse what no CSV parser survives: NUL bytes, other encodings, endless lines; names the line."""
    line, run, tail = 1, 0, b""
    for number, block in enumerate(_blocks(path)):
        if number == 0 and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{path.name} is written in UTF-16", fix="Save it as UTF-8")
        at = block.find(b"\0")
        if at >= 0:
            raise InputError(
                f"{path.name} has a NUL byte in line {line + block.count(10, 0, at)}", fix="Save it as plain UTF-8 text"
            )
        line = _check_utf8(path, tail + block, line - tail.count(10))
        tail = _incomplete(tail + block)
        first, last = block.find(b"\n"), block.rfind(b"\n")
        run = run + len(block) if first < 0 else len(block) - last - 1
        if run > MAX_LINE_BYTES:
            raise InputError(
                f"line {line} of {path.name} is longer than {MAX_LINE_BYTES >> 20} MB",
                fix="Look for a quote that is never closed, or put large contents into files of their own",
            )


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
    whole = data[: len(data) - len(_incomplete(data))]
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = line + whole.count(10, 0, error.start)
        raise InputError(
            f"line {bad} of {path.name} is not UTF-8 text (byte 0x{whole[error.start]:02x})",
            fix="Save the whole file as UTF-8; parts of it may be in another encoding",
        ) from None
    return line + data.count(10)


def _header(path: Path) -> tuple[list[str], str]:
    """Column names and the separator."""
    with path.open("r", encoding="utf-8-sig", newline="") as handle:
        start = handle.readline(MAX_CELL_BYTES)
    if not start.strip():
        raise InputError(f"{path.name} is empty" if not start else f"{path.name} has no header", fix="Give a table with a header line")
    separator = "\t" if path.suffix.lower() in (".tsv", ".tab") else max(",;\t|", key=start.count)
    if start.count(separator) >= MAX_COLUMNS:
        raise InputError(f"line 1 of {path.name} has more than {MAX_COLUMNS} columns", fix="Turn rows and columns round")
    names = [name.strip() for name in next(csv.reader([start], delimiter=separator))]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"line 1 of {path.name} names the column '{name}' twice", fix="Rename one of them")
        seen.add(name)
    if "" in names:
        # The unnamed first column is what pandas writes for its index
        names = [name or f"column_{number + 1}" for number, name in enumerate(names)]
    return names, separator


def _explain(path: Path, separator: str, width: int, error: Exception) -> InputError:
    """Find the line that the parser choked on."""
    csv.field_size_limit(MAX_CELL_BYTES)
    with path.open("r", encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, delimiter=separator)
        try:
            for row in reader:
                if len(row) != width and row:
                    return InputError(
                        f"line {reader.line_num} of {path.name} has {len(row)} cells, the header has {width}",
                        fix="Quote cells that contain the separator, or mend the line",
                    )
        except csv.Error as wrong:
            return InputError(f"line {reader.line_num} of {path.name} cannot be read: {wrong}", fix="Mend the line")
    return InputError(f"{path.name} cannot be read: {str(error).splitlines()[0]}", fix="Save it as plain CSV")


def read_csv(path: Path) -> pl.DataFrame | pl.LazyFrame:
    """Read or scan a CSV or TSV file; every cell stays text.

    Raises:
        InputError: Names the line that is damaged.
    """
    _check_text(path)
    names, separator = _header(path)
    lazy = pl.scan_csv(
        path, separator=separator, infer_schema=False, encoding="utf8", new_columns=names, glob=False, low_memory=True
    )
    try:
        frame = lazy.collect() if path.stat().st_size <= MAX_LOADED_BYTES else lazy
        if isinstance(frame, pl.LazyFrame):
            frame.select(pl.len(), pl.col(names[-1]).null_count()).collect()
    except pl.exceptions.PolarsError as error:
        raise _explain(path, separator, len(names), error) from None
    if isinstance(frame, pl.DataFrame):
        longest = max((frame[name].str.len_bytes().max() or 0 for name in frame.columns), default=0)  # type: ignore[type-var]
        if isinstance(longest, int) and longest > MAX_CELL_BYTES:
            raise InputError(f"{path.name} has a cell of {longest >> 20} MB", fix="Put large contents into files")
        short = [name for name in frame.columns[-1:] if frame[name].null_count()]
        if short:
            _refuse_short_rows(path, separator, len(names))
    return frame


def _refuse_short_rows(path: Path, separator: str, width: int) -> None:
    """Polars fills short rows with nulls; a row that lost cells must not pass for one with holes."""
    csv.field_size_limit(MAX_CELL_BYTES)
    with path.open("r", encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, delimiter=separator)
        for row in reader:
            if row and len(row) < width and not (width == 1):
                raise InputError(
                    f"line {reader.line_num} of {path.name} has {len(row)} cells, the header has {width}",
                    fix="Write a separator for every empty cell, or mend the line",
                )


def read_parquet(path: Path) -> pl.DataFrame | pl.LazyFrame:
    """Read or scan a Parquet file."""
    try:
        lazy = pl.scan_parquet(path, glob=False)
        return lazy.collect() if path.stat().st_size <= MAX_LOADED_BYTES else lazy
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{path.name} is not a Parquet file that can be read: {reason}", fix="Write it again") from None


def read_jsonl(path: Path) -> dict[str, list[Any]]:
    """Read a file with one JSON object a line.

    Raises:
        InputError: Names the line that is damaged.
    """
    _check_text(path)
    columns: dict[str, list[Any]] = {}
    count = 0
    with path.open("r", encoding="utf-8-sig") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_constant=lambda text: None)
            except (ValueError, RecursionError) as error:
                raise InputError(f"line {number} of {path.name} is not JSON: {error}", fix="Mend the line") from None
            if not isinstance(row, dict):
                raise InputError(f"line {number} of {path.name} is not a JSON object", fix="Write {...} on each line")
            for name in row:
                if name not in columns:
                    if len(columns) >= MAX_COLUMNS:
                        raise InputError(f"line {number} of {path.name} brings column {MAX_COLUMNS + 1}", fix="Nest them")
                    columns[name] = [None] * count
            for name, cells in columns.items():
                cells.append(row.get(name))
            count += 1
    return columns


def read_folder(root: Path) -> dict[str, dict[str, list[Any]]]:
    """Read `root/{train,dev,test}/CLASS/file` or `root/CLASS/file`: one row a file, or a file name in several formats.

    Returns:
        Part name ("train", "dev", "test") to columns: "image", "audio", "text" as they occur, and "label".

    Raises:
        InputError: There is no such structure.
    """
    found = {_PART_NAMES[item.name.lower()]: item for item in sorted(root.iterdir()) if item.is_dir() and item.name.lower() in _PART_NAMES}
    if found and "train" not in found:
        raise InputError(f"folder '{root.name}' has {', '.join(sorted(found))} but no train", fix="Name one part train")
    parts = {part: _class_rows(root, folder) for part, folder in (found or {"train": root}).items()}
    if not parts["train"].get("label"):
        tables = [item.name for item in sorted(root.iterdir()) if item.suffix.lower() in (".csv", ".tsv", ".parquet", ".jsonl")]
        hint = f"Give the table itself: {root / tables[0]}" if tables else "Put files into one folder a class"
        raise InputError(f"folder '{root}' holds no class folders with pictures, sounds or texts", fix=hint)
    names = [name for name in ("image", "audio", "text") if any(name in part for part in parts.values())]
    for columns in parts.values():
        for name in names:
            columns.setdefault(name, [None] * len(columns["label"]))
    return {part: {name: columns[name] for name in (*names, "label")} for part, columns in parts.items()}


def _class_rows(root: Path, folder: Path) -> dict[str, list[Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for home in sorted(item for item in folder.iterdir() if item.is_dir()):
        for path in sorted(item for item in home.rglob("*") if item.is_file()):
            column = _FILE_COLUMNS.get(path.suffix.lower())
            if column:
                row = rows.setdefault((home.name, str(path.relative_to(home).with_suffix(""))), {"label": home.name})
                row[column] = _small_text(path) if column == "text" else str(path.relative_to(root))
    names = [name for name in ("image", "audio", "text") if any(name in row for row in rows.values())]
    return {name: [row.get(name) for row in rows.values()] for name in (*names, "label")} if rows else {"label": []}


def _small_text(path: Path) -> str:
    with path.open("rb") as handle:
        return handle.read(1024 * 1024).decode("utf-8", "replace")
