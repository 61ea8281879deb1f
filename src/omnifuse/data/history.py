"""The past rows of each row of a table in time: a series, differences, texts, and the clock, as columns of the table.

Past values are read as differences from the row's own, which stands in the table beside them: what a level means shifts
from day to day and from device to device, how far and how fast it moved does not. Of days that were not learnt from,
linear models and trees make fewer mistakes that way.

The numbers of the whole table are indexed once, in the order of time within each group; what a row gets is
made of them when the row is read. So a table may stand in any order, and is answered in chunks as it is at once.
Shapes: R rows of the table, C number columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, overload

import numpy as np

from omnifuse.data.media_series import RawSeries
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.past_texts import (
    BEFORE,
    MOST_CHARS,
    MOST_TEXTS,
    end_of_text,
    join_latest,
    text_columns,
    text_ranks,
)
from omnifuse.data.tables import Table
from omnifuse.data.times import TimeReader
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Field, Modality, Schema
from omnifuse.schema.history import History, PastText

HISTORY_NAME = "history"
ROWS_BACK = (5, 15, 60)
# A wider table would no longer be read column by column
MOST_DIFFERENCES = 72
GAP_STEPS, SHORTEST_GAP_S = 10, 600.0
_DAY = 86_400.0


def _turn(seconds: np.ndarray, period: float, wave: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return wave(2 * np.pi * np.mod(seconds, period) / period)


# The first of January 1970 was a Thursday
CLOCK: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hour": lambda seconds: np.mod(seconds, _DAY) / 3600,
    "sine of the day": lambda seconds: _turn(seconds, _DAY, np.sin),
    "cosine of the day": lambda seconds: _turn(seconds, _DAY, np.cos),
    "weekend": lambda seconds: (
        (np.mod(np.floor(seconds / _DAY) + 3, 7) >= 5) * np.where(np.isnan(seconds), np.nan, 1.0)
    ),
}
_DAYS_READ = {"hour": 2, "sine of the day": 2, "cosine of the day": 2, "weekend": 14}


class Timeline:
    """The rows of a table, and of one with earlier rows, in the order of time within each group.

    Args:
        table: Its rows are numbered 0 to R - 1.
        history: Which columns are read and what cuts.
        earlier: Rows that serve as history alone.

    Attributes:
        seconds: (R,) time of each row, NaN where it cannot be read.
    """

    def __init__(self, table: Table, history: History, earlier: Table | None = None) -> None:
        self.history, self.num_rows = history, table.num_rows
        tables = [table] if earlier is None else [table, earlier]
        reader = TimeReader(history.dates, history.day_first)
        seconds = np.concatenate([reader.seconds(_cells(item, history.time)) for item in tables])
        self.seconds = seconds[: self.num_rows]
        groups = _group_codes(tables, history.group)
        read = np.flatnonzero(np.isfinite(seconds) & (groups >= 0))
        columns = [np.concatenate([parse_numbers(_cells(item, name)) for item in tables]) for name in history.columns]
        matrix = np.stack(columns, axis=1) if columns else np.zeros((len(seconds), 0))
        texts = {
            item.name: [end_of_text(cell, item.chars) for part in tables for cell in _cells(part, item.column)]
            for item in history.texts
        }
        # By the values too, so that rows of one time have one order, whatever that of the table
        ranks = [text_ranks(cells) for cells in texts.values()]
        order = read[np.lexsort((*(keys[read] for keys in (*ranks, *columns)), seconds[read], groups[read]))]
        self._texts = {name: [cells[row] for row in order] for name, cells in texts.items()}
        self._values, self._times, group = matrix[order], seconds[order], groups[order]
        place = np.arange(len(order))
        step = np.diff(self._times, prepend=-np.inf)
        other = np.diff(group, prepend=-1) != 0
        # Rows of one time are not each other's past: what a row sees ends before the first of them
        self._end = np.maximum.accumulate(np.where(other | (step > 0), place, 0))
        self._start = np.maximum.accumulate(np.where(other | (step > history.gap_s), place, 0))
        self._steps = step[~other & (step > 0)]
        found = np.full(len(seconds), -1)
        found[order] = place
        self._place = found[: self.num_rows]

    @property
    def usual_step_s(self) -> float:
        """Median time between two rows of a group; NaN where no group has two times."""
        return float(np.median(self._steps)) if len(self._steps) else np.nan

    def _before(self, row: int) -> tuple[int, slice]:
        """Place of a row in the order of time, and the places of the rows before it, at most a window of them."""
        place = int(self._place[row])
        if place < 0:
            return place, slice(0, 0)
        end = int(self._end[place])
        return place, slice(max(int(self._start[place]), end - self.history.window), end)

    def past_text(self, row: int, item: PastText) -> str | None:
        """The latest texts before a row, None where there are none."""
        return join_latest(self._texts[item.name][self._before(row)[1]], item)

    def past(self, row: int) -> RawSeries | None:
        """The rows before a row, at most a window of them, as differences from its own values.

        None where there are none, or nothing was observed in them.
        """
        place, before = self._before(row)
        values = self._values[before]
        if np.isnan(values).all():
            return None
        apart = values - _own(self._values[place], values)
        return RawSeries(apart, self._times[before], self.history.columns, float(self._times[place]), derived=True)

    def difference(self, column: str, back: int) -> np.ndarray:
        """(R,) value of a row minus that of the row so many rows back; NaN where either is not there."""
        values = self._values[:, self.history.columns.index(column)]
        before = self._end - back
        sorted_ = np.where(before >= self._start, values - values[np.maximum(before, 0)], np.nan)
        result = np.full(self.num_rows, np.nan)
        known = self._place >= 0
        result[known] = sorted_[self._place[known]]
        return result


def _own(row: np.ndarray, past: np.ndarray) -> np.ndarray:
    """(C,) the row's own values; where one is missing, the latest that was observed before it."""
    missing = np.isnan(row)
    if not missing.any():
        return row
    seen = ~np.isnan(past)
    latest = len(past) - 1 - seen[::-1].argmax(axis=0)
    return np.asarray(np.where(missing, past[latest, np.arange(len(row))], row))


class _PastRows(Sequence[Any]):
    """What is made of the rows before some rows, when it is asked for."""

    def __init__(self, make: Callable[[int], Any], rows: np.ndarray) -> None:
        self._make, self._rows = make, rows

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return _PastRows(self._make, self._rows[place])
        return self._make(int(self._rows[place]))

    def __len__(self) -> int:
        return len(self._rows)


class _Column(Sequence[Any]):
    """A derived number column, made when it is first asked for."""

    def __init__(self, make: Callable[[], np.ndarray], num_rows: int) -> None:
        self._make, self._num_rows = make, num_rows

    @cached_property
    def _values(self) -> np.ndarray:
        return self._make()

    def __getitem__(self, place: Any) -> Any:
        return self._values[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values.tolist())

    def __len__(self) -> int:
        return self._num_rows


def _cells(table: Table, column: str) -> list[Any]:
    return table.cells(column) if column in table.columns else [None] * table.num_rows


def _group_codes(tables: Sequence[Table], column: str | None) -> np.ndarray:
    """Code of each row's group; -1 where it is not known."""
    if column is None:
        return np.zeros(sum(table.num_rows for table in tables), np.int64)
    codes: dict[str, int] = {}
    cells = (cell for table in tables for cell in _cells(table, column))
    return np.array([-1 if cell is None else codes.setdefault(str(cell), len(codes)) for cell in cells], np.int64)


def check_earlier(earlier: Table, history: History) -> None:
    """Refuse earlier rows that cannot be told to be the past of any row.

    Args:
        earlier: Rows that serve as history alone.
        history: Names their time and group.

    Raises:
        InputError: The column of either is absent.
    """
    for name in (history.time, history.group):
        if name and name not in earlier.columns:
            raise InputError(f"the history has no column '{name}'", fix=did_you_mean(name, earlier.columns))


def with_history(table: Table, history: History | None, earlier: Table | None = None) -> Table:
    """The table with the derived columns; the table itself where it has them, or none are wanted.

    Args:
        table: Rows that are learnt from or answered; its own earlier rows are their history.
        history: What is made; None = nothing.
        earlier: Further rows that serve as history alone.
    """
    if history is None or table.derived:
        return table
    timeline = Timeline(table, history, earlier)
    made: dict[str, Sequence[Any]] = {}
    rows = np.arange(table.num_rows)
    if history.name:
        made[history.name] = _PastRows(timeline.past, rows)
    for item in history.texts:
        made[item.name] = _PastRows(_texts_before(timeline, item), rows)
    for name, column, back in history.differences:
        made[name] = _Column(_difference(timeline, column, back), table.num_rows)
    for name, what in history.clock:
        made[name] = _Column(_clock(timeline, what), table.num_rows)
    # A column of the table that has a derived one's name is not what the model knows by it
    columns = (*(name for name in table.columns if name not in made), *made)
    objects = {**table.objects, **made}
    return replace(table, columns=columns, objects=objects, derived=frozenset(made))


def _texts_before(timeline: Timeline, item: PastText) -> Callable[[int], str | None]:
    return lambda row: timeline.past_text(row, item)


def _difference(timeline: Timeline, column: str, back: int) -> Callable[[], np.ndarray]:
    return lambda: timeline.difference(column, back)


def _clock(timeline: Timeline, what: str) -> Callable[[], np.ndarray]:
    return lambda: CLOCK[what](timeline.seconds)


def unread_times(table: Table, history: History) -> list[tuple[int, str]]:
    """Row and reason for each row whose time cannot be read, so that it is answered without its history."""
    if history.time not in table.columns:
        return []
    cells = table.cells(history.time)
    seconds = TimeReader(history.dates, history.day_first).seconds(cells)
    return [
        (
            int(row),
            "the time is missing: answered without history"
            if cells[row] is None
            else f"'{str(cells[row])[:40]}' is no time: answered without history",
        )
        for row in np.flatnonzero(np.isnan(seconds)).tolist()
    ]


def plain_schema(schema: Schema) -> Schema:
    """The schema without the derived columns."""
    made = set(schema.history.derived) if schema.history is not None else set()
    return replace(schema, fields=tuple(item for item in schema.fields if item.name not in made), history=None)


def schema_with_history(table: Table, schema: Schema, window: int, drop: Sequence[str] = ()) -> Schema:
    """The schema with a series of past rows, differences to earlier rows, the clock, and earlier texts of the group.

    Args:
        table: The rows to learn from.
        schema: Names the time, the group and the number and text columns.
        window: Largest number of past rows; 0 leaves the schema as it is.
        drop: Names of made columns that are left out.

    Raises:
        InputError: `drop` names something that is not made.
    """
    history = None if schema.time is None or not window else _plan(table, schema, schema.time, window)
    made = () if history is None else history.derived
    for name in drop:
        if name not in made:
            raise InputError(
                f"--drop names the column '{name}', which {table.name} lacks",
                fix=did_you_mean(name, (*table.columns, *made)),
            )
    if history is None:
        return schema
    history = history.without(drop)
    return replace(schema, fields=(*schema.fields, *_fields(history)), history=history)


def _plan(table: Table, schema: Schema, time: str, window: int) -> History:
    """What is made of the rows before a row."""
    columns = tuple(item.name for item in schema.fields if item.modality is Modality.NUMBER)
    reader = TimeReader.fit(table.cells(time))
    bare = History(time, schema.group, window, (), "", (), (), SHORTEST_GAP_S, reader.dates, reader.day_first)
    timeline = Timeline(table, bare)
    gap_s = max(GAP_STEPS * timeline.usual_step_s, SHORTEST_GAP_S) if timeline.usual_step_s > 0 else SHORTEST_GAP_S
    taken = set(table.columns)
    differences = tuple(
        (_free(f"{column} against {back} rows before", taken), column, back)
        for back in _rows_back(len(columns), window)
        for column in columns
    )
    known = timeline.seconds[np.isfinite(timeline.seconds)]
    days = float(np.ptp(known)) / _DAY if len(known) else 0.0
    is_field = any(item.name == time for item in schema.fields)
    read = [what for what in CLOCK if reader.dates and not is_field and days >= _DAYS_READ[what]]
    clock = tuple((_free(f"{time}: {what}", taken), what) for what in read)
    name = _free(HISTORY_NAME, taken) if columns else ""
    texts = tuple(
        PastText(_free(column + BEFORE, taken), column, min(window, MOST_TEXTS), MOST_CHARS)
        for column in text_columns(schema)
    )
    history = replace(bare, columns=columns, name=name, differences=differences, clock=clock, gap_s=gap_s)
    return replace(history, texts=_with_any(table, replace(bare, gap_s=gap_s, texts=texts)))


def _with_any(table: Table, history: History) -> tuple[PastText, ...]:
    """The derived texts that at least one row has: groups of one row each have no past."""
    if not history.texts:
        return ()
    timeline = Timeline(table, history)
    rows = range(table.num_rows)
    return tuple(item for item in history.texts if any(timeline.past_text(row, item) is not None for row in rows))


def _fields(history: History) -> list[Field]:
    """The made columns as fields."""
    order = f"in the order of '{history.time}'"
    past = f"up to {history.window} rows before, {order}"
    made = [Field(history.name, Modality.SERIES, past)] if history.name else []
    made += [Field(item[0], Modality.NUMBER, f"made of '{item[1]}' {order}") for item in history.differences]
    made += [Field(item[0], Modality.NUMBER, f"made of '{history.time}'") for item in history.clock]
    return made + [
        Field(
            item.name,
            Modality.TEXT,
            f"up to {item.most} earlier texts of '{item.column}' of the same '{history.group}', {order}",
        )
        for item in history.texts
    ]


def _rows_back(num_columns: int, window: int) -> tuple[int, ...]:
    """Distances of the differences, the shortest first, as many as keep the table narrow."""
    within = [back for back in ROWS_BACK if back <= window]
    return tuple(back for place, back in enumerate(within, 1) if place * num_columns <= MOST_DIFFERENCES)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
