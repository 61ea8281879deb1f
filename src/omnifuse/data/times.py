"""Cells of a time column to seconds: dates with fractions of a second, epochs, and counters that stay as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from omnifuse.data.date import DatePreprocessor, parse_date
from omnifuse.data.numbers import parse_numbers
from omnifuse.errors import InputError

# Numbers from here on (1973) are epochs in seconds, milli-, micro- or nanoseconds; smaller ones count something
_FIRST_EPOCH = 1e8
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (math.inf, 1e9))
_COMPACT = (19_000_101, 21_001_231)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?Z?")
_FRACTION = re.compile(r":\d{2}[.,](\d{1,9})")


@dataclass(frozen=True)
class TimeReader:
    """How the cells of one time column are read.

    Args:
        dates: Whether the result is seconds since 1970 UTC; else the cells are numbers, taken as seconds.
        day_first: What "01/02/2020" means.

    Example:
        >>> TimeReader.fit(["0.5", "1"]).seconds(["2", "soon", None]).tolist()
        [2.0, nan, nan]
    """

    dates: bool = False
    day_first: bool = False

    @classmethod
    def fit(cls, cells: Iterable[Any]) -> TimeReader:
        """Choose by all cells of a column; None is skipped."""
        known = [cell for cell in cells if cell is not None]
        if any(isinstance(cell, date | datetime | np.datetime64) for cell in known):
            return cls(True)
        numbers = parse_numbers(known)
        read = numbers[np.isfinite(numbers)]
        is_compact = bool(read.size) and bool(((read >= _COMPACT[0]) & (read <= _COMPACT[1])).all())
        if len(read) == len(known) and not is_compact:
            return cls(bool(read.size) and bool((np.abs(read) >= _FIRST_EPOCH).all()))
        return cls(True, DatePreprocessor.fit(known).day_first)

    def seconds(self, cells: Sequence[Any]) -> np.ndarray:
        """float64 (R,) seconds; NaN where a cell is None or cannot be read."""
        if not self.dates:
            return parse_numbers(cells)
        result = np.full(len(cells), np.nan)
        known = [row for row, cell in enumerate(cells) if cell is not None]
        result[known] = self._dates([cells[row] for row in known])
        return result

    def _dates(self, cells: list[Any]) -> np.ndarray:
        if cells and all(isinstance(cell, str) and _ISO.fullmatch(cell) for cell in cells):
            try:
                stamps = np.array([cell.rstrip("Z") for cell in cells], "datetime64[us]")
                return np.asarray(stamps.astype(np.int64) / 1e6)
            except ValueError:
                pass  # a day such as February 30: that cell alone cannot be read
        return np.array([self._moment(cell) for cell in cells], np.float64)

    def _moment(self, cell: Any) -> float:
        if isinstance(cell, int | float | np.integer | np.floating) and abs(float(cell)) >= _FIRST_EPOCH:
            return _epoch(float(cell))
        text = cell.strip() if isinstance(cell, str) else ""
        if text[:1].isdigit() and text.replace(".", "", 1).isdigit() and float(text) >= _FIRST_EPOCH:
            return _epoch(float(text))
        try:
            whole = float(parse_date(cell, day_first=self.day_first))
        except InputError:
            return math.nan
        return whole + _fraction(cell)


def _epoch(number: float) -> float:
    size = abs(number)
    return next(number / unit for limit, unit in _UNITS if size < limit) if math.isfinite(size) else math.nan


def _fraction(cell: Any) -> float:
    """The part of a second that `parse_date` leaves out."""
    if isinstance(cell, str):
        found = _FRACTION.search(cell)
        return float(f"0.{found[1]}") if found else 0.0
    if isinstance(cell, datetime):
        return cell.microsecond / 1e6
    if isinstance(cell, np.datetime64):
        micros = cell.astype("datetime64[us]").astype(np.int64)
        return float(micros - cell.astype("datetime64[s]").astype(np.int64) * 1_000_000) / 1e6
    return 0.0
