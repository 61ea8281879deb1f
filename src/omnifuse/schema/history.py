"""How each row of a table gets its past: recorded with the model, so that every later table is read the same way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

MOST_WINDOW = 10_000


@dataclass(frozen=True)
class PastText:
    """A derived text field: earlier texts of a row's group.

    Attributes:
        name: Of the field.
        column: Text column that is read.
        most: So many of the latest texts before the row are joined.
        chars: Longest result; its end is kept.
    """

    name: str
    column: str
    most: int
    chars: int

    def __post_init__(self) -> None:
        if self.most < 1 or self.chars < 1:
            raise ValueError(f"{self.most} earlier texts of {self.chars} characters")


@dataclass(frozen=True)
class History:
    """What is made of the rows before a row.

    Attributes:
        time: Column of times.
        group: Column of groups, which are kept apart, or None.
        window: Largest number of past rows.
        columns: Number columns that are read of them.
        name: Input that holds the past rows as a series of differences from the row itself; "" where there are no
            number columns.
        differences: Derived column, its number column, and how many rows back that is compared with.
        clock: Derived column and what it is of the time: a name in `data.history.CLOCK`.
        gap_s: A longer time between two rows cuts the history.
        dates: Whether times are dates; else numbers, taken as seconds.
        day_first: What "01/02/2020" means.
        texts: Derived text fields.
    """

    time: str
    group: str | None
    window: int
    columns: tuple[str, ...]
    name: str
    differences: tuple[tuple[str, str, int], ...]
    clock: tuple[tuple[str, str], ...]
    gap_s: float
    dates: bool = False
    day_first: bool = False
    texts: tuple[PastText, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.window <= MOST_WINDOW or not self.gap_s > 0:
            raise ValueError(f"a history of {self.window} rows with gaps of {self.gap_s} s")

    @property
    def derived(self) -> tuple[str, ...]:
        """Names of all columns that are made."""
        series = (self.name,) if self.name else ()
        cells = (item[0] for item in (*self.differences, *self.clock))
        return (*series, *cells, *(item.name for item in self.texts))

    def without(self, names: Collection[str]) -> History:
        """The same without some of the columns that are made."""
        return replace(
            self,
            name="" if self.name in names else self.name,
            differences=tuple(item for item in self.differences if item[0] not in names),
            clock=tuple(item for item in self.clock if item[0] not in names),
            texts=tuple(item for item in self.texts if item.name not in names),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "time": self.time,
            "group": self.group,
            "window": self.window,
            "columns": list(self.columns),
            "name": self.name,
            "differences": [list(item) for item in self.differences],
            "clock": [list(item) for item in self.clock],
            "gap_s": self.gap_s,
            "dates": self.dates,
            "day_first": self.day_first,
            "texts": [asdict(item) for item in self.texts],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> History:
        """Inverse of `to_json`."""
        return cls(
            str(data["time"]),
            None if data["group"] is None else str(data["group"]),
            int(data["window"]),
            tuple(str(name) for name in data["columns"]),
            str(data["name"]),
            tuple((str(name), str(column), int(back)) for name, column, back in data["differences"]),
            tuple((str(name), str(what)) for name, what in data["clock"]),
            float(data["gap_s"]),
            bool(data["dates"]),
            bool(data["day_first"]),
            tuple(
                PastText(str(item["name"]), str(item["column"]), int(item["most"]), int(item["chars"]))
                for item in data.get("texts", ())
            ),
        )
