"""What names the rows of a table in an index: a column whose cells are all there and unlike each other, or numbers.

Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from omnifuse.data.kinds import judge
from omnifuse.data.tables import Table
from omnifuse.errors import InputError, did_you_mean

_JUDGED_CELLS = 2000


def row_names(table: Table, known: Sequence[str], asked: str | None, first: int) -> tuple[list[str], str]:
    """A name for each row.

    Args:
        table: R rows.
        known: Columns that the model knows as ids; one that repeats, as that of a pretrained model may, is passed over.
        asked: The column that must name them.
        first: Number of the first row where no column does.

    Returns:
        The names (R,), and what is to be said of them, or "".

    Raises:
        InputError: The column that was asked for is not there, lacks a cell or repeats one.
    """
    if asked is not None:
        if asked not in table.columns:
            raise InputError(f"there is no column '{asked}' to name the rows", fix=did_you_mean(asked, table.columns))
        return _checked(asked, table.cells(asked)), ""
    own = [name for name in known if name in table.columns]
    for name in [*own, *_looking_like_ids(table, own)]:
        cells = table.cells(name)
        if all(cell is not None for cell in cells):
            names = [str(cell) for cell in cells]
            if len(set(names)) == len(names):
                return names, "" if name in own[:1] else f"rows are named by their '{name}'"
    numbers = [str(first + row) for row in range(table.num_rows)]
    if not own:
        return numbers, ""
    return numbers, f"'{own[0]}' is empty or the same in several rows, so rows are named by their number from {first}"


def _looking_like_ids(table: Table, but: Sequence[str]) -> list[str]:
    names = [name for name in table.columns if name not in but and name not in table.derived]
    return [name for name in names if judge(name, table.cells(name)[:_JUDGED_CELLS]).role == "id"]


def _checked(name: str, cells: Sequence[object]) -> list[str]:
    fix = "Fill it, name the rows by another column, or leave --id out"
    seen: dict[str, int] = {}
    for row, cell in enumerate(cells):
        if cell is None:
            raise InputError(f"row {row + 1} has no id in '{name}'", fix=fix)
        if str(cell) in seen:
            twice = f"rows {seen[str(cell)] + 1} and {row + 1} are both '{str(cell)[:80]}' in '{name}'"
            raise InputError(f"{twice}, which is to name them", fix=fix.removeprefix("Fill it, ").capitalize())
        seen[str(cell)] = row
    return list(seen)
