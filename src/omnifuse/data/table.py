"""The number and category columns of a row to three small arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.categories import MISSING_LEVEL, CategoryColumn
from omnifuse.data.numbers import NumberColumn, parse_numbers


@dataclass(frozen=True)
class TablePreprocessor:
    """Scale numbers and number categories.

    A cell that is missing, or holds no number in a number column, is flagged; it never makes a row unreadable.

    Args:
        numbers: The N number columns.
        categories: The K category columns.
    """

    numbers: tuple[NumberColumn, ...]
    categories: tuple[CategoryColumn, ...]

    kind: ClassVar[str] = "table"

    @classmethod
    def fit(
        cls,
        columns: Mapping[str, Sequence[Any]],
        *,
        numbers: Sequence[str],
        categories: Sequence[str],
        min_count: int = 2,
        max_levels: int = 10_000,
        num_bins: int = 64,
        transform: str = "robust",
    ) -> TablePreprocessor:
        """Learn scales and levels from training cells.

        Args:
            columns: Column name to cells (None = missing); read one column at a time, so it may be lazy.
            numbers: Names of the number columns.
            categories: Names of the category columns.
            min_count: Levels that occur less often are rare.
            max_levels: Largest number of levels of a column.
            num_bins: Number of quantile bins of a number column.
            transform: "robust" or "quantile", see `NumberColumn`.

        Returns:
            The fitted preprocessor.

        Raises:
            InputError: An option is out of its limits.
        """
        return cls(
            tuple(NumberColumn.fit(name, columns[name], num_bins=num_bins, transform=transform) for name in numbers),
            tuple(
                CategoryColumn.fit(name, columns[name], min_count=min_count, max_levels=max_levels)
                for name in categories
            ),
        )

    @property
    def num_numbers(self) -> int:
        """N, the number of number columns."""
        return len(self.numbers)

    @property
    def num_categories(self) -> int:
        """K, the number of category columns."""
        return len(self.categories)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of indices of each category column; 0 = unknown or rare, 1 = missing."""
        return tuple(column.cardinality for column in self.categories)

    @property
    def edges(self) -> tuple[tuple[float, ...], ...]:
        """Quantile edges of each number column, in scaled units, strictly increasing."""
        return tuple(column.edges for column in self.numbers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in the order of the missing flags: numbers, then categories."""
        return tuple(column.name for column in self.numbers) + tuple(column.name for column in self.categories)

    def __call__(self, value: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays of one row.

        Args:
            value: Column name to cell; None or an absent name = missing, other names are ignored.

        Returns:
            ``numbers`` float32 (1, N), 0 where missing; ``categories`` int32 (1, K), 1 where missing; ``missing``
            bool (1, N + K).
        """
        return self.rows({name: [value.get(name)] for name in self.columns})

    def rows(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        """Arrays of many rows at once: much quicker than row by row.

        Args:
            columns: Column name to R cells; absent columns count as missing. At least one must be there.

        Returns:
            As for one row, with R rows.
        """
        num_rows = max((len(columns[name]) for name in self.columns if name in columns), default=0)
        numbers = np.zeros((num_rows, self.num_numbers), dtype=np.float32)
        categories = np.full((num_rows, self.num_categories), MISSING_LEVEL, dtype=np.int32)
        missing = np.ones((num_rows, self.num_numbers + self.num_categories), dtype=np.bool_)
        for index, number in enumerate(self.numbers):
            if number.name in columns:
                values = parse_numbers(columns[number.name])
                numbers[:, index] = number.scaled(values)
                missing[:, index] = np.isnan(values)
        for index, category in enumerate(self.categories):
            if category.name in columns:
                categories[:, index] = category.indices(columns[category.name])
                missing[:, self.num_numbers + index] = categories[:, index] == MISSING_LEVEL
        return {"numbers": numbers, "categories": categories, "missing": missing}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return self.rows({name: [] for name in self.columns})

    def unreadable(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        """Number columns of a row whose cell is there but holds no number: what a warning should name."""
        given = [column.name for column in self.numbers if value.get(column.name) is not None]
        return tuple(name for name in given if np.isnan(parse_numbers([value[name]])[0]))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "numbers": [column.to_json() for column in self.numbers],
            "categories": [column.to_json() for column in self.categories],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TablePreprocessor:
        """Inverse of `to_json`."""
        return cls(
            tuple(NumberColumn.from_json(item) for item in data["numbers"]),
            tuple(CategoryColumn.from_json(item) for item in data["categories"]),
        )
