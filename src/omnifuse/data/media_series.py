"""Arrays, lists, JSON texts, dicts and files (NPY, CSV, Parquet) of one sensor series to numbers with their times.

Shapes: F steps, C channels.
"""

from __future__ import annotations

import io
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any

import numpy as np
import polars as pl

from omnifuse.data.date import parse_date
from omnifuse.data.numbers import parse_number, parse_numbers
from omnifuse.data.times import TimeReader
from omnifuse.errors import InputError, MediaError

MOST_CHANNELS = 1024
SERIES_SUFFIXES = (".npy", ".csv", ".tsv", ".parquet")
TIME_NAMES = ("time", "timestamp", "time_s", "datetime", "date", "seconds", "t", "ts")
_NPY, _PARQUET = b"\x93NUMPY", b"PAR1"
_NO_VALUE = frozenset(("", "na", "n/a", "nan", "null", "none", "nil", "-", "?", "<na>", "missing"))
_FOREIGN = re.compile(rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|\x89PNG|\xff\xd8\xff|\x80[\x02-\x05]")
# What numpy raises of a damaged header, which it parses as Python's literals
_BAD_NPY = (
    ValueError,
    TypeError,
    EOFError,
    OverflowError,
    SyntaxError,
    OSError,
    TokenError,
    RecursionError,
    MemoryError,
)
_FORMS = "NPY, CSV, TSV, Parquet or JSON"


@dataclass(frozen=True)
class RawSeries:
    """One series as it was given.

    Attributes:
        values: float64 (F, C), NaN where nothing was observed.
        times: float64 (F,) seconds, NaN where unreadable; None where the steps have no times.
        channels: Names of the channels; () where only their order tells.
        end: The moment that is asked about, in the seconds of `times`; None takes the last step's.
        derived: Made from rows of a table, in order and looked over already.
    """

    values: np.ndarray
    times: np.ndarray | None = None
    channels: tuple[str, ...] = ()
    end: float | None = None
    derived: bool = False

    def __str__(self) -> str:
        """For a person."""
        steps, channels = self.values.shape
        return f"{steps} steps of {', '.join(self.channels[:6]) or f'{channels} channels'}"


class _Reading:
    """Budget and remarks of one series."""

    def __init__(self, max_bytes: int, where: str) -> None:
        self.max_values, self.where = max_bytes // 8, where
        self.unread = self.total = 0
        self.left_out: list[str] = []

    def refuse(self, what: str, fix: str = "") -> MediaError:
        return MediaError(what, where=self.where, fix=fix)

    def room(self, count: int) -> None:
        if count > self.max_values:
            raise self.refuse(
                f"The series holds {count} values, at most {self.max_values} are read", "Make it shorter or coarser"
            )

    def numbers(self, cells: Sequence[Any]) -> np.ndarray:
        """(F,) float64, counting what holds something other than a number."""
        values = parse_numbers(cells)
        self.unread += sum(_is_something(cells[place]) for place in np.flatnonzero(np.isnan(values)).tolist())
        self.total += len(values)
        return values

    def array(self, values: np.ndarray) -> np.ndarray:
        """(F, C) float64 of an array of numbers; infinities are no numbers."""
        if values.dtype.kind not in "fiub" or values.ndim not in (1, 2):
            raise self.refuse(
                f"The series is an array of {values.dtype} {values.shape}, expected numbers (steps,) or (steps, "
                "channels)"
            )
        self.room(values.size)
        result = np.array(values, np.float64).reshape(len(values), values.shape[1] if values.ndim == 2 else 1)
        endless = np.isinf(result)
        self.unread += int(endless.sum())
        self.total += result.size
        # All NaN alike: one that signals (a bit pattern that a file may hold) would warn at every use
        result[endless | np.isnan(result)] = np.nan
        return np.clip(result, -1e100, 1e100, out=result)

    def finished(self, raw: RawSeries, remarks: list[str] | None) -> RawSeries:
        steps, channels = raw.values.shape
        if not steps or not channels:
            raise self.refuse("The series has no steps", "Leave the cell empty where there is none")
        if channels > MOST_CHANNELS:
            raise self.refuse(f"The series has {channels} channels, at most {MOST_CHANNELS} are read")
        if np.isnan(raw.values).all():
            raise self.refuse("The series holds no number")
        if remarks is not None:
            if self.unread:
                remarks.append(f"{self.unread} of {self.total} values are no numbers and count as not observed")
            remarks += [f"the column '{name[:40]}' holds no number and is left out" for name in self.left_out]
        return raw


def _is_something(cell: Any) -> bool:
    """Whether a cell that is no number was meant to be one: not an empty one, nor NaN."""
    if cell is None or (isinstance(cell, float | np.floating) and math.isnan(cell)):
        return False
    return not (isinstance(cell, str) and cell.strip().lower() in _NO_VALUE)


def is_series_text(cell: str) -> bool:
    """Whether a text is JSON of a list or an object, not the name of a file."""
    return cell.lstrip()[:1] in ("[", "{")


def object_series(cell: Any, *, max_bytes: int = 2**27, where: str = "", remarks: list[str] | None = None) -> RawSeries:
    """A series that is in memory.

    Args:
        cell: Array (F,) or (F, C); list of numbers or of rows; dict with "time" and either "values" (and "channels")
            or one list a channel; JSON text of these. None and NaN are gaps.
        max_bytes: Larger ones (as float64) are refused.
        where: For error messages.
        remarks: Gets a sentence where values are no numbers.

    Raises:
        MediaError: The cell is none of these, is empty, or holds no number.
    """
    reading = _Reading(max_bytes, where)
    if isinstance(cell, str):
        cell = _json(cell, reading)
    if isinstance(cell, Mapping):
        return reading.finished(_of_mapping(cell, reading), remarks)
    return reading.finished(RawSeries(_matrix(cell, reading)), remarks)


def _json(text: str, reading: _Reading) -> Any:
    if len(text) > 4 * reading.max_values:
        raise reading.refuse(f"The text of the series has {len(text)} characters: too long")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise reading.refuse(
            "The text of the series is no JSON", "Write it as [1, 2, null] or [[1, 2], [3, 4]]"
        ) from None


def _matrix(cell: Any, reading: _Reading) -> np.ndarray:
    """(F, C) of an array, a list of numbers or a list of rows."""
    if isinstance(cell, np.ndarray) and cell.dtype != object:
        return reading.array(cell)
    if not isinstance(cell, list | tuple | np.ndarray):
        raise reading.refuse(
            f"A series cannot be read from a cell of type {type(cell).__name__}",
            'Give an array, a list, a dict with "time", JSON text, or a file of ' + _FORMS,
        )
    rows = list(cell)
    reading.room(len(rows))
    is_row = [isinstance(row, list | tuple | np.ndarray) for row in rows]
    if not any(is_row):
        return reading.numbers(rows).reshape(-1, 1)
    width = len(rows[is_row.index(True)])
    reading.room(len(rows) * width)
    for number, row in enumerate(rows):
        if not is_row[number] or len(row) != width:
            size = len(row) if is_row[number] else 1
            raise reading.refuse(f"Step {number + 1} of the series has {size} values, the first has {width}")
    flat = [value for row in rows for value in row]
    if any(isinstance(value, list | tuple | dict | np.ndarray) for value in flat):
        raise reading.refuse("The series is nested deeper than steps and channels")
    return reading.numbers(flat).reshape(len(rows), width)


def _of_mapping(cell: Mapping[Any, Any], reading: _Reading) -> RawSeries:
    columns = {str(name): value for name, value in cell.items()}
    time_name = next((name for name in columns if name.lower() in TIME_NAMES), None)
    times = None
    if time_name is not None:
        stamps = columns.pop(time_name)
        if not isinstance(stamps, list | tuple | np.ndarray):
            raise reading.refuse(f"'{time_name}' of the series is no list")
        reading.room(len(stamps))
        times = _times(list(stamps))
    if "values" in columns:
        values = _matrix(columns.pop("values"), reading)
        names = columns.pop("channels", ())
        channels = tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()
        if channels and len(channels) != values.shape[1]:
            raise reading.refuse(f"The series names {len(channels)} channels and holds {values.shape[1]}")
    else:
        parts = {name: _matrix(value, reading) for name, value in columns.items() if value is not None}
        sizes = {len(part) for part in parts.values()}
        if not parts or len(sizes) > 1 or any(part.shape[1] != 1 for part in parts.values()):
            listed = ", ".join(f"{name}: {len(part)}" for name, part in list(parts.items())[:6]) or "none"
            raise reading.refuse(f"The channels of the series are not lists of one length ({listed})")
        channels, values = tuple(parts), np.concatenate(list(parts.values()), axis=1)
    if times is not None and len(times) != len(values):
        raise reading.refuse(f"The series has {len(times)} times and {len(values)} steps")
    return RawSeries(values, times, channels)


def _times(cells: list[Any]) -> np.ndarray:
    reader = TimeReader.fit(cell for cell in cells if _is_something(cell))
    return reader.seconds([cell if _is_something(cell) else None for cell in cells])


def decode_series(data: bytes | bytearray, *, max_bytes: int, where: str, remarks: list[str] | None) -> RawSeries:
    """The content of a file; its first bytes tell what it is, never its name.

    Args:
        data: NPY, Parquet, JSON, or text of CSV or TSV, with or without a header. A column named as in `TIME_NAMES`,
            or else a first column of dates, holds the times.
        max_bytes: Larger ones (as float64) are refused.
        where: For error messages.
        remarks: As for `object_series`.

    Raises:
        MediaError: Another format, damaged, too large, or without a number.
    """
    reading = _Reading(max_bytes, where)
    if data.startswith(_NPY):
        return reading.finished(RawSeries(_npy(bytes(data), reading)), remarks)
    if data.startswith(_PARQUET):
        return reading.finished(_of_columns(_parquet(bytes(data), reading), reading), remarks)
    if _FOREIGN.match(data) or b"\0" in data:
        raise reading.refuse(f"The content is not {_FORMS}")
    try:
        text = bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise reading.refuse("The text of the series is not UTF-8", "Save it as UTF-8") from None
    if is_series_text(text):
        return object_series(text, max_bytes=max_bytes, where=where, remarks=remarks)
    return reading.finished(_of_columns(_csv(text, reading), reading), remarks)


def _npy(data: bytes, reading: _Reading) -> np.ndarray:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a header as Python 2 wrote it
            shape, _, dtype = read(stream)
            if dtype.kind not in "fiub":
                raise reading.refuse(f"The NPY file holds {str(dtype)[:40]}, not numbers", "Save an array of numbers")
            reading.room(math.prod(shape))
            stream.seek(0)
            values = np.load(stream, allow_pickle=False)
        return reading.array(values)
    except _BAD_NPY:
        raise reading.refuse("The NPY file is damaged", "Save it again") from None


def _parquet(data: bytes, reading: _Reading) -> dict[str, list[Any] | np.ndarray]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        about = file.metadata
        if about.num_columns > MOST_CHANNELS + 1:
            raise reading.refuse(f"The series has {about.num_columns} columns, at most {MOST_CHANNELS} are read")
        reading.room(about.num_rows * about.num_columns)
        if (
            sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            > 8 * reading.max_values
        ):
            raise reading.refuse("The Parquet file unpacks to too much", "Make it shorter or coarser")
        parts: dict[str, list[Any]] = {name: [] for name in file.schema_arrow.names}
        rows = 0
        for batch in file.iter_batches(65_536):
            rows += len(batch)
            reading.room(rows * max(about.num_columns, 1))
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                parts[name] += column.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, MediaError):
            raise
        raise reading.refuse("The Parquet file is damaged", "Write it again") from None
    return dict(parts)


def _csv(text: str, reading: _Reading) -> dict[str, list[Any] | np.ndarray]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((mark for mark in ("\t", ";", ",") if mark in first), ",")
    if first.count(separator) > MOST_CHANNELS + 1:
        raise reading.refuse(f"The series has {first.count(separator) + 1} columns, at most {MOST_CHANNELS} are read")
    try:
        frame = pl.read_csv(
            text.encode(), has_header=False, infer_schema=False, separator=separator, raise_if_empty=False
        )
    except (pl.exceptions.PolarsError, ValueError):
        raise reading.refuse(
            "The table of the series cannot be read", "Give every line the same number of cells"
        ) from None
    reading.room(frame.height * frame.width)
    if not frame.height:
        return {}
    head = ["" if cell is None else str(cell).strip() for cell in frame.row(0)]
    named = any(_is_name(cell) for cell in head)
    names = [name or f"column {place + 1}" for place, name in enumerate(head)] if named else []
    if len(set(names)) < len(names):
        raise reading.refuse("Two columns of the series have the same name", "Rename one of them")
    body = frame.slice(1) if named else frame
    return {names[place] if named else f"\0{place}": _column(series) for place, series in enumerate(body.get_columns())}


def _column(series: pl.Series) -> list[Any] | np.ndarray:
    """Numbers at once where all cells are, else the texts."""
    stripped = series.str.strip_chars()
    numbers = stripped.cast(pl.Float64, strict=False)
    blank = stripped.is_null() | (stripped == "")
    if bool((numbers.is_not_null() | blank).all()):
        return numbers.to_numpy()
    return list(series.to_list())


def _is_name(cell: str) -> bool:
    if cell.lower() in _NO_VALUE or not math.isnan(parse_number(cell)):
        return False
    try:
        parse_date(cell)
    except InputError:
        return True
    return False


def _of_columns(columns: Mapping[str, list[Any] | np.ndarray], reading: _Reading) -> RawSeries:
    """A time column, if there is one, and a channel for each column that holds a number."""
    left = dict(columns)
    time_name = next((name for name in left if name.lower() in TIME_NAMES), None) or _dates_first(left)
    times = _times(list(left.pop(time_name))) if time_name is not None else None
    found: dict[str, np.ndarray] = {}
    for name, cells in left.items():
        before = reading.unread
        values = reading.array(cells)[:, 0] if isinstance(cells, np.ndarray) else reading.numbers(cells)
        if np.isnan(values).all() and len(left) > 1 and reading.unread > before:
            reading.unread, reading.total = before, reading.total - len(values)
            reading.left_out.append(name.replace("\0", "column "))
            continue
        found[name] = values
    steps = len(next(iter(columns.values()), ()))
    matrix = np.stack(list(found.values()), axis=1) if found else np.zeros((steps, 0))
    named = not any(name.startswith("\0") for name in found)
    return RawSeries(matrix, times, tuple(found) if named else ())


def _dates_first(columns: Mapping[str, list[Any] | np.ndarray]) -> str | None:
    """The first column where its cells are dates and no numbers."""
    name, cells = next(iter(columns.items()), ("", []))
    if isinstance(cells, np.ndarray) or len(columns) < 2:
        return None
    known = list(_first_known(cells))
    if not known or not np.isnan(parse_numbers(known)).all():
        return None
    return name if bool(np.isfinite(TimeReader.fit(known).seconds(known)).all()) else None


def _first_known(cells: list[Any], count: int = 20) -> Iterator[Any]:
    for cell in cells:
        if _is_something(cell):
            count -= 1
            yield cell
            if not count:
                return
