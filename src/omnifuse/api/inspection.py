"""`inspect`: what omnifuse would read in a table, why, and what its owner should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omnifuse.api.options import as_tuple
from omnifuse.data.findings import find
from omnifuse.data.infer import infer_schema
from omnifuse.data.media import MediaDoor
from omnifuse.data.tables import open_table
from omnifuse.schema import Finding, Schema, TaskKind


def inspect(
    table: Any,
    label: str | Sequence[str] | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    group: str | None = None,
    test: Any = None,
    media_root: Path | None = None,
) -> tuple[Schema, list[Finding]]:
    """Infer the schema of a table and look for faults in the data.

    Args:
        table: Path, frame, or list of dicts.
        label: Target columns; usual names are suggested where none is given.
        fields: Column name to modality, overriding what is inferred.
        drop: Columns to leave out.
        group: Column whose groups are never divided.
        test: A second table; rows and media that stand in both are reported.
        media_root: Folder that media paths resolve against.

    Returns:
        The schema, and the findings, worst first.
    """
    opened = open_table(table, media_root=media_root)
    other = open_table(test, media_root=media_root) if test is not None else None
    door = MediaDoor(root=opened.root)
    schema = infer_schema(
        opened,
        as_tuple(label),
        fields=fields or {},
        tasks={},
        drop=tuple(drop),
        group=group,
        time=None,
        learnt=tuple(TaskKind),
        door=door,
    )
    findings = find(opened, schema, test=other, door=door)
    order = {"error": 0, "warning": 1, "info": 2}
    return schema, sorted(findings, key=lambda item: order.get(item.severity, 3))
