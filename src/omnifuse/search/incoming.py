"""Rows that come into an index, checked and made what it holds: vectors of unit length, equally many cells.

Shapes: R rows, D width of a space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Modality
from omnifuse.search.columns import ColumnKind, column_kind
from omnifuse.search.segment import RESERVED


def unit_matrices(vectors: Any, spaces: Mapping[str, int], count: int) -> dict[str, np.ndarray]:
    """Every space's vectors (R, D), scaled to length 1; zeros where a row has none.

    Args:
        vectors: (R, D) of the first space, or space to (R, D).
        spaces: Name of each to its width.
        count: R.

    Raises:
        InputError: A space is unknown, a width or a number of rows is another, or a row has none in the first space.
    """
    first = next(iter(spaces))
    given = dict(vectors) if isinstance(vectors, Mapping) else {first: vectors}
    for name in given:
        if name not in spaces:
            raise InputError(f"the index has no vectors '{name}'", fix=did_you_mean(name, spaces))
    found = {}
    for name, width in spaces.items():
        values = np.asarray(given.get(name, np.zeros((count, width))), dtype=np.float32)
        if len(values) != count:
            raise InputError(f"{count} ids came with {len(values)} vectors of '{name}'", fix="Give one a row")
        found[name] = unit_rows(values, width, f"vectors of '{name}'")
    empty = np.flatnonzero(~found[first].any(axis=1))
    if len(empty):
        what = f"row {int(empty[0]) + 1} of those to be added has no vector in '{first}'"
        raise InputError(what, fix="Leave it out, or give it one")
    return found


def unit_rows(values: np.ndarray, width: int, what: str) -> np.ndarray:
    """Rows (R, D) of length 1; rows of NaN or 0 become 0."""
    if values.ndim != 2 or values.shape[1] != width:
        shape = "x".join(map(str, values.shape))
        raise InputError(f"the {what} are {shape}", fix=f"Give rows of {width} numbers")
    values = np.where(np.isnan(values).all(axis=1, keepdims=True), np.float32(0), values)
    if not np.isfinite(values).all():
        raise InputError(f"the {what} hold numbers that are not finite", fix="Look at what made them")
    # Scaled first, so that no square overflows or vanishes
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0)
    scaled = values / np.where(largest > 0, largest, 1)
    length = np.sqrt(np.square(scaled, dtype=np.float64).sum(axis=1, keepdims=True))
    return np.asarray(scaled / np.where(length > 0, length, 1), dtype=np.float32)


def cells_of(rows: Any, count: int) -> dict[str, list[Any]]:
    """Column name to R cells, of a mapping or a frame.

    Raises:
        InputError: A column of another length, or of a name that the index uses itself.
    """
    if rows is None:
        return {}
    found = {
        str(name): cells.to_list() if isinstance(cells, pl.Series) else list(cells)
        for name, cells in (rows.to_dict() if isinstance(rows, pl.DataFrame) else rows).items()
    }
    for name, cells in found.items():
        if len(cells) != count:
            raise InputError(f"the column '{name}' has {len(cells)} cells for {count} rows", fix="Give one a row")
        if name.startswith(RESERVED):
            raise InputError(f"the column name '{name}' is taken", fix="Rename the column")
    return found


def kind_of(name: str, cells: Sequence[Any], fields: Mapping[str, str]) -> ColumnKind:
    """What a new column is kept as; `fields` says what the model reads it as."""
    return column_kind(name, cells, Modality(fields[name]) if name in fields else None)


def refuse_repeated(names: pl.Series, repeated: pl.Series) -> None:
    """Raise an InputError that names the first of the ids that are repeated, a bool each."""
    found = names.filter(repeated)
    if len(found):
        more = f", and {found.n_unique() - 1} more" if found.n_unique() > 1 else ""
        what = f"the id '{found[0]}' would be in the index twice{more}"
        raise InputError(what, fix="Replace the old rows (--replace, replace=True), or give other ids")
