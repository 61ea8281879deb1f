"""Date cells to seconds: ISO and common written forms, epochs, and Python, numpy and pandas objects."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import numpy as np

from omnifuse.errors import InputError

_LONGEST_TEXT = 64
_FURTHEST_ZONE = 14 * 3600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_SECOND = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
LATEST_SECOND = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds())
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month_name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)

# The text is at most 64 characters long and every repetition is bounded, so no pattern can take long.
_TIME = re.compile(
    r"(?:^|[T\s]{1,2})(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d{1,9})?)?"
    r"\s{0,2}(?P<half>[ap]\.?m\.?)?\s{0,2}(?P<zone>z|utc|gmt|[+-]\d{2}(?::?\d{2})?)?$",
    re.IGNORECASE,
)
_WEEKDAY = re.compile(r"^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}\.?,?\s{1,3}", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})(?:[-/.](?P<month>\d{1,2})(?:[-/.](?P<day>\d{1,2}))?)?")
_CHINESE = re.compile(
    "(?P<year>\\d{4})\\s?\u5e74(?:\\s?(?P<month>\\d{1,2})\\s?\u6708(?:\\s?(?P<day>\\d{1,2})\\s?[\u65e5\u53f7])?)?"
)
_COMPACT_TIME = re.compile(
    r"(?<=^\d{8})T(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?=z|[+-]\d|$)", re.IGNORECASE
)
_COMPACT = re.compile(r"(?P<year>[12]\d{3})(?P<month>0[1-9]|1[0-2])(?P<day>[0-3]\d)")
_YEAR_LAST = re.compile(r"(?P<first>\d{1,2})(?P<mark>[-/.])\s?(?P<second>\d{1,2})[-/.]\s?(?P<year>\d{4}|\d{2})")
_DAY_NAMED = re.compile(
    r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?[\s-]{0,2}(?:of\s)?" + _MONTH + r"[\s,-]{0,2}(?P<year>\d{4})", re.I
)
_NAMED_DAY = re.compile(_MONTH + r"[\s-]{0,2}(?P<day>\d{1,2})(?:st|nd|rd|th)?[\s,-]{1,3}(?P<year>\d{4})", re.I)
_NAMED = re.compile(_MONTH + r"[\s,-]{0,2}(?P<year>\d{4})", re.I)
_NAMED_LATER = re.compile(r"(?P<year>\d{4})[\s,-]{0,2}" + _MONTH + r"(?:[\s-]{1,2}(?P<day>\d{1,2}))?", re.I)
_EPOCH_TEXT = re.compile(r"-?\d{5,20}(?:\.\d{0,9})?")


def parse_date(cell: Any, *, day_first: bool = False) -> int:
    """Seconds since 1970-01-01 UTC of a cell.

    Read are objects of datetime, numpy and pandas; epoch seconds, milliseconds, microseconds and nanoseconds (told
    apart by their size); and texts such as "2015-02-04 17:51:00", "2020-01-25T10:00Z", "2020/01/25", "25.01.2020",
    "1/25/2020 5:51 PM", "January 25, 2020", "25 Jan 2020", "Jan 2020", "2020". A missing month or day is the first;
    without a zone the time is taken as UTC; fractions of a second are dropped.

    Args:
        cell: The cell.
        day_first: What "01/02/2020" means: True = the first of February. An impossible order is turned round.

    Returns:
        Seconds, within the years 1 to 9999.

    Raises:
        InputError: The cell is not a date, or outside of these years.

    Example:
        >>> parse_date("1970-01-02"), parse_date("January 2, 1970 00:01")
        (86400, 86460)
    """
    seconds = _object_seconds(cell)
    if seconds is None:
        seconds = _text_seconds(_text(cell), day_first)
    if seconds is None or not EARLIEST_SECOND <= seconds <= LATEST_SECOND:
        raise InputError(
            f"'{_text(cell)[:_LONGEST_TEXT]}' is not a date that can be read",
            fix="Write it as 2020-01-25 or 2020-01-25 17:51:00",
        )
    return seconds


@dataclass(frozen=True)
class DatePreprocessor:
    """Turn date cells into seconds UTC.

    Args:
        day_first: What "01/02/2020" means, decided by the training rows.
        earliest: First second of the training rows.
        latest: Last second of the training rows.
        median: Median second of the training rows: the zero of the elapsed time.
        has_time: Whether any training row has a time of day.
    """

    day_first: bool = False
    earliest: int = 0
    latest: int = 0
    median: int = 0
    has_time: bool = False

    kind: ClassVar[str] = "date"

    @classmethod
    def fit(cls, cells: Iterable[Any], *, day_first: bool | None = None) -> DatePreprocessor:
        """Learn order of day and month and the span of the training rows.

        Args:
            cells: Training cells; None and unreadable ones are skipped.
            day_first: Overrides the order of day and month.

        Returns:
            The fitted preprocessor; a span of 0 at 0 where no cell can be read.
        """
        known = [cell for cell in cells if cell is not None]
        order = _is_day_first(known) if day_first is None else bool(day_first)
        seconds = np.array([found for cell in known if (found := _seconds_or_none(cell, order)) is not None])
        if not seconds.size:
            return cls(order)
        has_time = bool((seconds % 86_400 != 0).any())
        return cls(order, int(seconds.min()), int(seconds.max()), int(np.median(seconds)), has_time)

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """Seconds of one cell.

        Args:
            value: A cell, see `parse_date`.

        Returns:
            ``seconds`` int64 (1,).

        Raises:
            InputError: The cell is not a date.
        """
        return {"seconds": np.array([parse_date(value, day_first=self.day_first)], dtype=np.int64)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"seconds": np.zeros(0, np.int64)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "day_first": self.day_first,
            "earliest": self.earliest,
            "latest": self.latest,
            "median": self.median,
            "has_time": self.has_time,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DatePreprocessor:
        """Inverse of `to_json`."""
        return cls(
            bool(data["day_first"]),
            int(data["earliest"]),
            int(data["latest"]),
            int(data["median"]),
            bool(data["has_time"]),
        )


def _seconds_or_none(cell: Any, day_first: bool) -> int | None:
    try:
        return parse_date(cell, day_first=day_first)
    except InputError:
        return None


def _text(cell: Any) -> str:
    if isinstance(cell, bytes | bytearray):
        return bytes(cell.strip()[: _LONGEST_TEXT + 1]).decode("utf-8", "replace")
    # Cut after the blanks are gone: what stands behind many of them counts too
    return (cell if isinstance(cell, str) else str(cell)).strip()[: _LONGEST_TEXT + 1]


def _object_seconds(cell: Any) -> int | None:
    """Seconds of typed dates and numbers, None for anything else."""
    if isinstance(cell, np.datetime64):
        return None if np.isnat(cell) else int(cell.astype("datetime64[s]").astype(np.int64))
    if isinstance(cell, datetime):
        # pandas' NaT is a datetime too, and unequal to itself
        return None if cell != cell else _datetime_seconds(cell)
    if isinstance(cell, date):
        return _datetime_seconds(datetime(cell.year, cell.month, cell.day, tzinfo=UTC))
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, int | float | np.integer | np.floating):
        return None
    return _number_seconds(float(cell)) if math.isfinite(cell) else None


def _datetime_seconds(moment: datetime) -> int:
    known = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (known - _EPOCH) // timedelta(seconds=1)


def _number_seconds(number: float) -> int | None:
    """A year, a compact date or an epoch in seconds, milli-, micro- or nanoseconds."""
    if number.is_integer():
        if 1000 <= number <= 2999:
            return _calendar_seconds(int(number), 1, 1)
        compact = _COMPACT.fullmatch(str(int(number)))
        if compact:
            found = _calendar_seconds(*(int(part) for part in compact.groups()))
            if found is not None:
                return found
    size = abs(number)
    for limit, unit in ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000)):
        if size < limit:
            return math.floor(number / unit)
    return None


def _text_seconds(text: str, day_first: bool) -> int | None:
    if not text or len(text) > _LONGEST_TEXT:
        return None
    if _EPOCH_TEXT.fullmatch(text):
        return _number_seconds(float(text))
    text = _COMPACT_TIME.sub(lambda part: f" {part[1]}:{part[2]}:{part[3] or '00'}", _WEEKDAY.sub("", text))
    time = _TIME.search(text)
    day_text = text[: time.start()] if time else text
    day = _day_seconds(day_text.strip(" ,T\t"), day_first)
    offset = _time_seconds(time) if time else 0
    return None if day is None or offset is None else day + offset


def _day_seconds(text: str, day_first: bool) -> int | None:
    for pattern in (_YEAR_FIRST, _COMPACT, _CHINESE, _DAY_NAMED, _NAMED_DAY, _NAMED, _NAMED_LATER):
        match = pattern.fullmatch(text)
        if match:
            parts = match.groupdict()
            name = parts.get("month_name")
            month = _MONTHS.index(name[:3].lower()) + 1 if name else int(parts.get("month") or 1)
            return _calendar_seconds(int(parts["year"]), month, int(parts.get("day") or 1))
    match = _YEAR_LAST.fullmatch(text)
    if not match:
        return None
    first, second, year = int(match["first"]), int(match["second"]), _full_year(match["year"])
    # Points are written between day, month and year alone
    order = (second, first) if day_first or match["mark"] == "." else (first, second)
    found = _calendar_seconds(year, *order)
    return found if found is not None else _calendar_seconds(year, order[1], order[0])


def _calendar_seconds(year: int, month: int, day: int) -> int | None:
    try:
        return _datetime_seconds(datetime(year, month, day, tzinfo=UTC))
    except ValueError:
        return None


def _full_year(text: str) -> int:
    """Two digits mean 1969 to 2068, as in POSIX."""
    year = int(text)
    if len(text) == 4:
        return year
    return year + (1900 if year >= 69 else 2000)


def _time_seconds(match: re.Match[str]) -> int | None:
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"] or 0)
    half = (match["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        return None
    zone = _zone_seconds((match["zone"] or "").lower())
    return None if abs(zone) > _FURTHEST_ZONE else hour * 3600 + minute * 60 + second - zone


def _zone_seconds(zone: str) -> int:
    if zone in ("", "z", "utc", "gmt"):
        return 0
    digits = zone[1:].replace(":", "")
    seconds = int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60
    return -seconds if zone[0] == "-" else seconds


def _is_day_first(cells: Iterable[Any]) -> bool:
    """Count the cells such as "25/01/2020" that allow one order alone; month first where there are none or as many."""
    votes = 0
    for cell in cells:
        if not isinstance(cell, str):
            continue
        time = _TIME.search(text := _text(cell))
        match = _YEAR_LAST.fullmatch((text[: time.start()] if time else text).strip(" ,"))
        if match and match["mark"] != ".":
            votes += (int(match["first"]) > 12) - (int(match["second"]) > 12)
    return votes > 0
