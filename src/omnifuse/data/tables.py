"""Tables from files, folders, frames and lists of dicts, behind one face; large files are scanned."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from omnifuse.data.folders import read_folder
from omnifuse.data.readers import is_large, read_csv, read_jsonl, read_parquet
from omnifuse.data.spool import Spool, spool_jsonl
from omnifuse.errors import InputError, did_you_mean

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
SHEETS = (".xlsx", ".xls", ".ods")
_ROW_NUMBER = "\x00row"


def missing_to_none(cell: Any) -> Any:
    """None for null, NaN, NaT and blank text; the cell itself otherwise."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, float | np.floating) and cell != cell:
        return None
    return None if type(cell).__name__ in ("NaTType", "NAType") else cell


@dataclass(frozen=True)
class Table:
    """An immutable view of rows and columns.

    Attributes:
        name: File name, or "<memory>".
        root: Folder that relative media paths resolve against.
        columns: Column names in order.
        num_rows: Number of rows.
        frame: Columns that polars holds; scanned where the file is large.
        objects: The other columns.
        parts: Other tables that came with it: "dev" and "test" of a folder with these subfolders.
        encoded: Columns of the frame whose cells are JSON text.
        spool: Holds the temporary file that the frame scans, if any.
        derived: Columns that were made of others (see `data.history`); they are no part of the content.
    """

    name: str
    root: Path | None
    columns: tuple[str, ...]
    num_rows: int
    frame: pl.DataFrame | pl.LazyFrame
    objects: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    parts: Mapping[str, Table] = field(default_factory=dict)
    encoded: frozenset[str] = frozenset()
    spool: Spool | None = None
    derived: frozenset[str] = frozenset()

    def cells(self, column: str, rows: np.ndarray | None = None) -> list[Any]:
        """Cells of one column, None where missing.

        Args:
            column: Its name.
            rows: Row numbers, in any order; None takes all.

        Raises:
            InputError: There is no such column.
        """
        if column not in self.columns:
            raise InputError(f"there is no column '{column}' in {self.name}", fix=did_you_mean(column, self.columns))
        if column in self.objects:
            listed = self.objects[column]
            chosen = listed if rows is None else [listed[int(row)] for row in rows]
            return [missing_to_none(cell) for cell in chosen]
        if isinstance(self.frame, pl.DataFrame):
            series = self.frame.get_column(column)
            series = series if rows is None else series[np.asarray(rows, dtype=np.int64)]
        else:
            series = self._gather((column,), rows)[column]
        if column in self.encoded:
            return [None if cell is None else missing_to_none(json.loads(cell)) for cell in series.to_list()]
        if series.dtype == pl.String:
            return [None if cell is None or not cell.strip() else cell for cell in series.to_list()]
        return [missing_to_none(cell) for cell in series.to_list()]

    def _gather(self, columns: tuple[str, ...], rows: np.ndarray | None) -> pl.DataFrame:
        """Columns of the frame at the given rows; a scanned file is passed through once and never held."""
        chosen = self.frame.lazy().select(columns)
        if rows is None or isinstance(self.frame, pl.DataFrame):
            frame = chosen.collect()
            return frame if rows is None or not columns else frame[np.asarray(rows, dtype=np.int64)]
        numbers, places = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        if numbers.size and not 0 <= numbers[0] <= numbers[-1] < self.num_rows:
            raise IndexError(f"rows {numbers[0]} to {numbers[-1]} of a table of {self.num_rows}")
        wanted = pl.col(_ROW_NUMBER).is_in(pl.Series(numbers, dtype=pl.UInt32).implode())
        found = chosen.with_row_index(_ROW_NUMBER).filter(wanted).drop(_ROW_NUMBER).collect(engine="streaming")
        return found[places]

    def select(self, rows: np.ndarray) -> Table:
        """The given rows, in the given order."""
        numbers = np.asarray(rows, dtype=np.int64)
        frame = self._gather(tuple(name for name in self.columns if name not in self.objects), numbers)
        objects = {name: [listed[int(row)] for row in numbers] for name, listed in self.objects.items()}
        return replace(self, frame=frame, objects=objects, num_rows=len(numbers), parts={})

    def head(self, count: int) -> Table:
        """The first rows."""
        frame = self.frame.lazy().head(count).collect()
        objects = {name: listed[:count] for name, listed in self.objects.items()}
        return replace(self, frame=frame, objects=objects, num_rows=min(count, self.num_rows), parts={})

    def batches(self, size: int) -> Iterator[Table]:
        """All rows in order, `size` at a time; a scanned file is read piece by piece."""
        if isinstance(self.frame, pl.DataFrame):
            for start in range(0, self.num_rows, size):
                stop = min(start + size, self.num_rows)
                objects = {name: listed[start:stop] for name, listed in self.objects.items()}
                piece = self.frame.slice(start, stop - start)
                yield replace(self, frame=piece, objects=objects, num_rows=stop - start, parts={})
            return
        done = 0

        def piece_of(part: pl.DataFrame) -> Table:
            nonlocal done
            start, done = done, done + part.height
            objects = {name: listed[start:done] for name, listed in self.objects.items()}
            return replace(self, frame=part, objects=objects, num_rows=part.height, parts={})

        waiting: list[pl.DataFrame] = []
        for chunk in self.frame.collect_batches(chunk_size=size, maintain_order=True, lazy=True):
            waiting.append(chunk)
            if sum(item.height for item in waiting) >= size:
                joined = pl.concat(waiting)
                whole = joined.height // size * size
                for start in range(0, whole, size):
                    yield piece_of(joined.slice(start, size))
                waiting = [joined.slice(whole)]
        rest = pl.concat(waiting) if waiting else None
        if rest is not None and rest.height:
            yield piece_of(rest)

    def fingerprint(self) -> str:
        """SHA-256 over column names and cells (paths count as text; media are not opened)."""
        columns = [name for name in self.columns if name not in self.derived]
        digest = hashlib.sha256("\x1f".join(columns).encode("utf-8", "replace"))
        for chunk in self.batches(4096):
            for column in columns:
                for cell in chunk.cells(column):
                    digest.update(_cell_bytes(cell))
                    digest.update(b"\x1f")
        return digest.hexdigest()


def _cell_bytes(cell: Any) -> bytes:
    if isinstance(cell, str):
        return cell.encode("utf-8", "replace")
    if isinstance(cell, tuple):
        return b"\x1e".join(_cell_bytes(part) for part in cell)
    # The repr of an array leaves most of it out, that of a picture holds its address
    return bytes(cell.tobytes()) if hasattr(cell, "tobytes") else repr(cell).encode("utf-8", "replace")


def _of_frame(name: str, root: Path | None, frame: pl.DataFrame | pl.LazyFrame) -> Table:
    if isinstance(frame, pl.LazyFrame):
        columns = tuple(frame.collect_schema().names())
        num_rows = int(frame.select(pl.len()).collect().item())
    else:
        columns, num_rows = tuple(frame.columns), frame.height
    return Table(name, root, columns, num_rows, frame)


def _of_columns(columns: Mapping[str, list[Any]], name: str, root: Path | None) -> Table:
    """Columns of Python values; what polars cannot hold (arrays, pictures, mixed types) stays a list."""
    plain: dict[str, pl.Series] = {}
    objects: dict[str, list[Any]] = {}
    for column, cells in columns.items():
        simple = {type(cell) for cell in cells if cell is not None} <= {str, int, float, bool}
        try:
            series = pl.Series(column, cells, strict=True) if simple else None
        # Lone surrogates raise UnicodeEncodeError, which is a ValueError
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            series = None
        if series is None or series.dtype == pl.Object:
            objects[column] = list(cells)
        else:
            plain[column] = series
    num_rows = len(next(iter(columns.values()), []))
    return Table(name, root, tuple(columns), num_rows, pl.DataFrame(plain), objects)


def _of_jsonl(path: Path, home: Path) -> Table:
    spooled = spool_jsonl(path) if is_large(path) else None
    if spooled is None:
        return _of_columns(read_jsonl(path), path.name, home)
    return replace(_of_frame(path.name, home, spooled.frame), encoded=spooled.encoded, spool=spooled.spool)


def _of_dicts(rows: list[Any], root: Path | None) -> Table:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(
                f"row {number + 1} of the list is a {type(row).__name__}, not a dict", fix="Give a list of dicts"
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    _refuse_repeated([str(name) for name in names])
    return _of_columns({str(name): [row.get(name) for row in rows] for name in names}, "<memory>", root)


def _refuse_repeated(names: list[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"two columns are named '{repeated[0]}'", fix="Rename one of them")


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns")


def _of_pandas(frame: Any, root: Path | None) -> Table:
    names = [str(name) for name in frame.columns]
    _refuse_repeated(names)
    cells = (frame[name].tolist() for name in frame.columns)
    return _of_columns(dict(zip(names, cells, strict=True)), "<memory>", root)


def _of_path(path: Path, root: Path | None) -> Table:
    if not path.exists():
        near = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(
            f"there is no file or folder '{path}'", fix=did_you_mean(path.name, near) if near else "Check the path"
        )
    if path.is_dir():
        folders = {part: _of_columns(columns, path.name, path) for part, columns in read_folder(path).items()}
        main = folders.pop("train")
        return replace(main, parts=folders)
    home = root if root is not None else path.resolve().parent
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _of_frame(path.name, home, read_parquet(path))
    if suffix in (".jsonl", ".ndjson"):
        return _of_jsonl(path, home)
    if suffix in SUFFIXES:
        return _of_frame(path.name, home, read_csv(path))
    if suffix in ARCHIVES:
        raise InputError(f"'{path.name}' is an archive", fix="Unpack it, then give the table or folder inside")
    if suffix in SHEETS:
        raise InputError(f"'{path.name}' is a spreadsheet", fix="Save the sheet as CSV")
    raise InputError(
        f"'{path.name}' is not a table that can be read", fix="Give " + ", ".join(SUFFIXES) + " or a folder"
    )


def open_table(source: Any, *, media_root: Path | None = None) -> Table:
    """Open a table for reading.

    Args:
        source: Path of a CSV, TSV, Parquet or JSONL file or of a folder; polars or pandas frame; list of dicts, whose
            media cells may be paths, bytes, arrays or PIL images.
        media_root: Folder that relative media paths resolve against; the table's own folder by default.

    Returns:
        The table. Cells of text files stay text: "03" is not 3.

    Raises:
        InputError: The source cannot be read, has no rows, or holds damaged lines (with their numbers).

    Example:
        >>> open_table([{"a": 1, "b": "x"}, {"a": None}]).cells("a")
        [1, None]
    """
    root = Path(media_root) if media_root is not None else None
    if isinstance(source, Table):
        return source if root is None else replace(source, root=root)
    if isinstance(source, str | Path):
        table = _of_path(Path(source), root)
    elif isinstance(source, pl.DataFrame | pl.LazyFrame):
        table = _of_frame("<memory>", root, source)
    elif isinstance(source, list | tuple):
        table = _of_dicts(list(source), root)
    elif _is_pandas(source):
        table = _of_pandas(source, root)
    else:
        raise InputError(
            f"a {type(source).__name__} is not a table", fix="Give a path, a polars or pandas frame, or a list of dicts"
        )
    if not table.columns or not table.num_rows:
        raise InputError(f"{table.name} has no rows", fix="Give a table with a header and at least one row")
    return table if root is None else replace(table, root=root)
