"""A table in memory, for what reads no more of a table than its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class ColumnTable:
    """Columns by name; `most` is the largest number of cells that was asked for at once."""

    root = Path(".")

    def __init__(self, **columns: Any) -> None:
        self.data, self.columns = columns, tuple(columns)
        self.num_rows = len(next(iter(columns.values())))
        self.most = 0

    def cells(self, column: str, rows: Any = None) -> list[Any]:
        wanted = range(self.num_rows) if rows is None else rows.tolist()
        self.most = max(self.most, len(wanted))
        return [self.data[column][row] for row in wanted]
