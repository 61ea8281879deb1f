"""Rows of a table through a model's own preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omnifuse.data.history import plain_schema, unread_times, with_history
from omnifuse.data.media import MediaDoor
from omnifuse.data.pack import BadCell, Pack, build_packs
from omnifuse.data.tables import Table
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Schema


@dataclass(frozen=True)
class Decoded:
    """Rows of a table after decoding: packs by input, unreadable cells, and warnings of the whole table."""

    table: Table
    packs: dict[str, Pack]
    bad: list[BadCell]
    notes: tuple[str, ...]

    def warnings(self) -> list[list[str]]:
        """For each row, what is to be said of the whole table, of unreadable cells and of media that were changed."""
        found: list[list[str]] = [list(self.notes) for _ in range(self.table.num_rows)]
        for cell in self.bad:
            found[cell.row].append(f"{cell.field}: {cell.reason}")
        for pack in self.packs.values():
            for remark in pack.remarks:
                found[remark.row].append(f"{remark.field}: {remark.text}")
        return found


def decode(
    table: Table,
    schema: Schema,
    preprocessors: Mapping[str, Any],
    *,
    confined: bool = False,
    num_workers: int | None = None,
) -> Decoded:
    """Decode every row.

    Args:
        table: Rows to read; absent columns count as missing, others are ignored. Where the model reads history, the
            table's own earlier rows are it, unless `with_history` has said what is.
        schema: Names the inputs.
        preprocessors: Input to fitted preprocessor.
        confined: Refuse media outside the table's folder.
        num_workers: As in `build_packs`.

    Raises:
        InputError: The table has no known column.
    """
    notes = _check_columns(table, schema)
    table = with_history(table, schema.history)
    door = MediaDoor(root=table.root, confined=confined)
    packs, bad = build_packs(table, schema, preprocessors, door=door, num_workers=num_workers)
    if schema.history is not None:
        bad += [BadCell(row, schema.history.time, reason) for row, reason in unread_times(table, schema.history)]
    return Decoded(table, packs, bad, notes)


def _check_columns(table: Table, schema: Schema) -> tuple[str, ...]:
    """Refuse a table without any known column; name the absent ones otherwise."""
    history = schema.history
    wanted = list(dict.fromkeys(item.source for item in plain_schema(schema).fields))
    if history is not None:
        wanted += [name for name in (*history.columns, history.time, history.group) if name and name not in wanted]
    absent = [name for name in wanted if name not in table.columns]
    if len(absent) == len(wanted):
        raise InputError(
            f"the table has none of the model's fields ({', '.join(wanted)})",
            where=f"its columns are {', '.join(table.columns) or 'none'}",
            fix=did_you_mean(wanted[0], table.columns),
        )
    return tuple(f"column '{name}' is absent: treated as missing" for name in absent)
