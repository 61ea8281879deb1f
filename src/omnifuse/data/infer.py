"""From a table to its schema: every decision with its reason, every decision open to the user's override."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.kinds import Kind, judge
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.tables import Table
from omnifuse.data.targets import class_text, tag_texts
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

SAMPLED_CELLS = 2000
FIELD_MODALITIES = (Modality.TEXT, Modality.IMAGE, Modality.AUDIO, Modality.NUMBER, Modality.CATEGORY, Modality.DATE)
TRAINABLE = (TaskKind.CLASSIFICATION, TaskKind.TAGGING, TaskKind.REGRESSION)
MAX_INTEGER_CLASSES = 20
MAX_CLASSES = 10_000


def _sample(table: Table, column: str) -> list[Any]:
    count = min(table.num_rows, SAMPLED_CELLS)
    return table.cells(column, np.unique(np.linspace(0, table.num_rows - 1, count).astype(np.int64)))


def _missing_share(cells: list[Any]) -> float:
    return sum(cell is None for cell in cells) / max(len(cells), 1)


def _check_name(table: Table, column: str, option: str) -> None:
    if column not in table.columns:
        raise InputError(
            f"{option} names the column '{column}', which {table.name} lacks", fix=did_you_mean(column, table.columns)
        )


def _files_exist(table: Table, cells: list[Any]) -> bool:
    """False only where the cells name files and none of the sampled ones is there."""
    named = [cell for cell in cells if isinstance(cell, str | Path)][:20]
    if not named:
        return True
    root = table.root or Path()
    return any((root / cell).exists() for cell in named)


def _field_of(table: Table, column: str, wanted: str | None) -> tuple[Kind, float]:
    cells = _sample(table, column)
    if wanted is None:
        kind = judge(column, cells)
        if kind.modality is not None and kind.modality not in FIELD_MODALITIES:
            kind = Kind(None, f"it holds {kind.modality}, which this version does not learn from", "drop")
        elif kind.modality is not None and kind.modality.is_media and not _files_exist(table, cells):
            kind = Kind(kind.modality, f"{kind.reason}, but none of these files is there", "absent")
        return kind, _missing_share(cells)
    try:
        modality = Modality(wanted)
    except ValueError:
        modality = Modality.TABLE
    if modality not in FIELD_MODALITIES:
        known = [item.value for item in FIELD_MODALITIES]
        raise InputError(f"--field {column}={wanted}: there is no modality '{wanted}'", fix=did_you_mean(wanted, known))
    return Kind(modality, "said by --field"), _missing_share(cells)


def _task_of(table: Table, column: str, wanted: str | None) -> tuple[TaskKind, str]:
    cells = [cell for cell in _sample(table, column) if cell is not None]
    if wanted is not None:
        kinds = [item.value for item in TRAINABLE]
        if wanted not in kinds:
            raise InputError(f"--task {column}={wanted}: there is no task '{wanted}'", fix=did_you_mean(wanted, kinds))
        return TaskKind(wanted), "said by --task"
    if isinstance(cells[0], list | tuple):
        return TaskKind.TAGGING, "the cells are lists"
    joined = [cell for cell in cells if isinstance(cell, str) and "|" in cell]
    if len(joined) > 0.2 * len(cells):
        return TaskKind.TAGGING, "the cells list tags between '|'"
    texts = {class_text(cell) for cell in cells}
    values = parse_numbers(cells) if not any(isinstance(cell, bool) for cell in cells) else np.array([np.nan])
    if np.isnan(values).mean() < 0.01:
        whole = bool((values[~np.isnan(values)] % 1 == 0).all())
        if whole and len(texts) <= MAX_INTEGER_CLASSES and not any("." in str(text) for text in texts):
            return TaskKind.CLASSIFICATION, f"whole numbers with {len(texts)} values"
        return TaskKind.REGRESSION, "numbers with many values"
    if len(texts) > MAX_INTEGER_CLASSES and len(texts) > 0.5 * len(cells):
        raise InputError(
            f"label '{column}' holds {len(texts)} different texts in {len(cells)} cells: texts to write, not classes",
            fix=f"Say --task {column}=classification or --task {column}=tagging if they are classes",
        )
    return TaskKind.CLASSIFICATION, f"texts with {len(texts)} values"


def _classes(table: Table, column: str, kind: TaskKind, cells: list[Any]) -> tuple[str, ...]:
    if kind is TaskKind.REGRESSION:
        values = parse_numbers(cells)
        known = values[~np.isnan(values)]
        wrong = [row for row, cell in enumerate(cells) if cell is not None and np.isnan(values[row])]
        if wrong:
            raise InputError(
                f"label '{column}' holds {str(cells[wrong[0]])[:40]!r} in row {wrong[0] + 1}, which is no number",
                fix=f"Mend the cell, or say --task {column}=classification",
            )
        if len(np.unique(known)) < 2:
            raise InputError(
                f"label '{column}' has the same value in every row", fix="Give a label with at least two values"
            )
        return ()
    if kind is TaskKind.TAGGING:
        names = sorted({tag for cell in cells for tag in tag_texts(cell) or ()})
    else:
        names = sorted({text for cell in cells if (text := class_text(cell)) is not None})
    if len(names) < (2 if kind is TaskKind.CLASSIFICATION else 1):
        raise InputError(
            f"label '{column}' has one class ('{names[0]}')" if names else f"label '{column}' has no class",
            where=f"in {table.name}",
            fix="Give rows of at least two classes",
        )
    if len(names) > MAX_CLASSES:
        raise InputError(f"label '{column}' has {len(names)} classes", fix=f"At most {MAX_CLASSES} are learnt")
    return tuple(names)


def infer_target(table: Table, column: str, wanted: str | None) -> Target:
    """The target of one label column.

    Raises:
        InputError: The column is absent, empty, of one class, or no task fits.
    """
    _check_name(table, column, "--label")
    cells = table.cells(column)
    missing = _missing_share(cells)
    if missing == 1.0:
        raise InputError(f"every cell of the label '{column}' is missing", fix="Give rows with a label")
    kind, reason = _task_of(table, column, wanted)
    return Target(column, kind, _classes(table, column, kind, cells), reason, missing)


def _drop_absent(kinds: dict[str, tuple[Kind, float]]) -> None:
    """A media column without a single file is only kept where it is the only hope: fit then says what is wrong."""
    some = any(kind.role == "field" and kind.modality is not None for kind, _ in kinds.values())
    for column, (kind, missing) in kinds.items():
        if kind.role == "absent":
            kinds[column] = (Kind(None, kind.reason, "drop") if some else Kind(kind.modality, kind.reason), missing)


def infer_schema(
    table: Table,
    labels: tuple[str, ...],
    *,
    fields: Mapping[str, str],
    tasks: Mapping[str, str],
    drop: tuple[str, ...],
    group: str | None,
    time: str | None,
) -> Schema:
    """Infer the roles of all columns.

    Args:
        table: The table.
        labels: Columns to predict (may be empty for `inspect`).
        fields: Column to modality, overriding what is inferred.
        tasks: Label column to task kind, overriding what is inferred.
        drop: Columns to leave out.
        group: Column of groups, not a field unless `fields` names it.
        time: Column of times, not a field unless `fields` names it.

    Returns:
        The schema.

    Raises:
        InputError: A named column is absent, a name is unknown, or nothing is left to learn from.
    """
    _check_options(table, labels, fields, tasks, drop, group, time)
    repeated = [name for name, count in Counter(labels).items() if count > 1]
    if repeated:
        raise InputError(f"--label names '{repeated[0]}' twice", fix="Name each label once")
    targets = tuple(infer_target(table, column, tasks.get(column)) for column in labels)
    dropped = dict.fromkeys(drop, "left out by --drop")
    for column, role in ((group, "the group"), (time, "the time")):
        if column is not None and column not in fields and column not in labels:
            dropped[column] = f"it is {role} of a row, not a field"
    rest = [column for column in table.columns if column not in labels and column not in dropped]
    kinds = {column: _field_of(table, column, fields.get(column)) for column in rest}
    _drop_absent(kinds)
    found = [
        Field(column, kind.modality, kind.reason, missing)
        for column, (kind, missing) in kinds.items()
        if kind.modality is not None
    ]
    ids = tuple(column for column, (kind, _) in kinds.items() if kind.role == "id")
    dropped |= {column: kind.reason for column, (kind, _) in kinds.items() if kind.modality is None}
    if not found and labels:
        listed = "; ".join(f"{column}: {reason}" for column, reason in dropped.items())
        raise InputError(
            f"{table.name} has no field to learn from", where=listed, fix="Name one with --field COLUMN=MODALITY"
        )
    return Schema(tuple(found), targets, ids, group, time, dropped)


def _check_options(
    table: Table,
    labels: tuple[str, ...],
    fields: Mapping[str, str],
    tasks: Mapping[str, str],
    drop: tuple[str, ...],
    group: str | None,
    time: str | None,
) -> None:
    for option, names in (("--label", labels), ("--field", tuple(fields)), ("--drop", drop), ("--task", tuple(tasks))):
        for name in names:
            _check_name(table, name, option)
    for option, column in (("--group", group), ("--time", time)):
        if column is not None:
            _check_name(table, column, option)
            if column in labels:
                raise InputError(f"{option} and --label both name '{column}'", fix="A label cannot have another role")
    for option, names in (("--field", tuple(fields)), ("--drop", drop)):
        for name in names:
            if name in labels:
                raise InputError(f"{option} and --label both name '{name}'", fix="A label cannot be a field")
    for name in tasks:
        if name not in labels:
            raise InputError(f"--task names '{name}', which is no label", fix=f"Say --label {name} too")
