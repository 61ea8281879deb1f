"""Rows in time: their ranks where the user names a time column, and blocks where the table stands in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from omnifuse.api.partition import NUM_FOLDS
from omnifuse.data.infer import holds_dates
from omnifuse.data.tables import Table
from omnifuse.data.times import TimeReader
from omnifuse.errors import InputError
from omnifuse.schema import Modality, Schema

# Rows in the order of a date column are cut into so many blocks, of which folds are made, if there are rows enough
NUM_BLOCKS, FEWEST_BLOCKED_ROWS = 50, 500


@dataclass(frozen=True)
class Blocks:
    """Consecutive rows.

    Attributes:
        codes: (R,) int block of each row, drawn whole for intervals.
        folds: (R,) int fold of each row: each is one stretch of time.
        note: Why, in a sentence.
    """

    codes: np.ndarray
    folds: np.ndarray
    note: str


def _seconds(table: Table, column: str) -> np.ndarray:
    """(R,) seconds of a column of times, NaN where a cell is empty or cannot be read."""
    cells = table.cells(column)
    return TimeReader.fit(cells).seconds(cells)


def time_ranks(table: Table, column: str | None) -> np.ndarray | None:
    """(R,) what rows are ordered by, None without a time column.

    Raises:
        InputError: A cell is empty or cannot be read.
    """
    if column is None:
        return None
    seconds = _seconds(table, column)
    missing = np.flatnonzero(np.isnan(seconds))
    if len(missing):
        cell = table.cells(column, missing[:1])[0]
        state = "is empty" if cell is None else f"holds '{str(cell)[:40]}', which is no time,"
        raise InputError(f"the time column '{column}' {state} in row {missing[0] + 1}", fix="Fill it or drop the row")
    return seconds


def time_blocks(table: Table, schema: Schema, rows: np.ndarray) -> Blocks | None:
    """Blocks of consecutive rows where the table stands in the order of a date column; None where it does not.

    Neighbours in time are nearly equal, so a row drawn at random would be answered from memory; a stretch of time that
    was held out whole is answered as tomorrow will be. That holds too where the date is left out of the fields.

    Args:
        table: The rows.
        schema: Names the fields and the columns left out.
        rows: Rows to learn from, in the order of the table.

    References: Roberts et al. 2017, Cross-validation strategies for data with temporal structure.
    """
    if len(rows) < FEWEST_BLOCKED_ROWS:
        return None
    for column in _date_columns(table, schema):
        steps = np.diff(_seconds(table, column)[rows])
        if (steps >= 0).all() and (steps > 0).mean() > 0.5:
            blocks = np.zeros(table.num_rows, np.int64)
            blocks[rows] = np.arange(len(rows)) * NUM_BLOCKS // len(rows)
            note = (
                f"The rows stand in the order of '{column}': {NUM_FOLDS} stretches of {-(-len(rows) // NUM_FOLDS)} "
                "consecutive rows are held out in turn, since a row's neighbours in time would give its answer away."
            )
            return Blocks(blocks, blocks * NUM_FOLDS // NUM_BLOCKS, note)
    return None


def _date_columns(table: Table, schema: Schema) -> Iterator[str]:
    """Fields of dates, then columns left out that hold dates."""
    yield from (item.name for item in schema.fields if item.modality is Modality.DATE)
    yield from (column for column in schema.dropped if holds_dates(table, column))
