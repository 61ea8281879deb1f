"""From a table to its schema: every decision with its reason, every decision open to the user's override."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.categories import category_text
from omnifuse.data.kinds import Kind, judge
from omnifuse.data.media_container import need_video
from omnifuse.data.media_parts import media_parts
from omnifuse.data.media_series import is_series_text
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.orders import known_order, order_levels
from omnifuse.data.place import place_columns
from omnifuse.data.sound_tracks import SUFFIX, Headers, with_sound_tracks
from omnifuse.data.tables import Table
from omnifuse.data.targets import class_text, tag_texts
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

SAMPLED_CELLS = 2000
FIELD_MODALITIES = (
    Modality.TEXT,
    Modality.IMAGE,
    Modality.AUDIO,
    Modality.VIDEO,
    Modality.NUMBER,
    Modality.CATEGORY,
    Modality.DATE,
    Modality.SERIES,
    Modality.PLACE,
    Modality.TAGS,
)
TRAINABLE = (
    TaskKind.CLASSIFICATION,
    TaskKind.TAGGING,
    TaskKind.REGRESSION,
    TaskKind.ORDINAL,
    TaskKind.TRANSCRIPTION,
    TaskKind.CAPTIONING,
    TaskKind.ANSWERING,
)
MAX_INTEGER_CLASSES = 20
MAX_CLASSES = 10_000


def _sample(table: Table) -> Table:
    """Evenly spread rows of all columns, read in one pass."""
    if table.num_rows <= SAMPLED_CELLS:
        return table
    return table.select(np.unique(np.linspace(0, table.num_rows - 1, SAMPLED_CELLS).astype(np.int64)))


def _missing_share(cells: list[Any]) -> float:
    return sum(cell is None for cell in cells) / max(len(cells), 1)


def _check_name(table: Table, column: str, option: str) -> None:
    if column not in table.columns:
        raise InputError(
            f"{option} names the column '{column}', which {table.name} lacks", fix=did_you_mean(column, table.columns)
        )


def _files_exist(table: Table, cells: list[Any]) -> bool:
    """False only where the cells name files and none of the sampled ones is there."""
    files = [cell for cell in cells if not (isinstance(cell, str) and is_series_text(cell))]
    named = [part for cell in files for part in media_parts(cell) if isinstance(part, str | Path)][:20]
    return not named or any(_exists(table.root or Path(), cell) for cell in named)


def _may_be_files(modality: Modality) -> bool:
    return modality.is_media or modality is Modality.SERIES


def _exists(root: Path, cell: str | Path) -> bool:
    try:
        return (root / cell).exists()
    except (OSError, ValueError):
        # A name that is too long or holds a NUL is no file's
        return False


def _field_of(sample: Table, column: str, wanted: str | None) -> tuple[Kind, float]:
    cells = sample.cells(column)
    if wanted is None:
        kind = judge(column, cells)
        if kind.modality is not None and kind.modality not in FIELD_MODALITIES:
            kind = Kind(None, f"it holds {kind.modality}, which this version does not learn from", "drop")
        elif kind.modality is not None and _may_be_files(kind.modality) and not _files_exist(sample, cells):
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


def _wanted_task(column: str, wanted: str, learnt: Collection[TaskKind]) -> TaskKind:
    known = [item.value for item in TaskKind if item in learnt]
    if wanted not in known:
        raise InputError(f"--task {column}={wanted}: there is no task '{wanted}'", fix=did_you_mean(wanted, known))
    return TaskKind(wanted)


def _split_task(column: str, wanted: str) -> tuple[str, str | None]:
    """`ordinal:low<high` as task and order; other tasks have no order."""
    name, mark, order = wanted.partition(":")
    if mark and name != TaskKind.ORDINAL.value:
        raise InputError(
            f"--task {column}={wanted}: only ordinal takes an order", fix=f'Say --task "{column}=ordinal:low<high"'
        )
    return name, order if mark else None


def _task_of(
    column: str, cells: list[Any], fields: Sequence[Field], learnt: Collection[TaskKind]
) -> tuple[TaskKind, str]:
    """The task for the known cells of a label, and why."""
    if isinstance(cells[0], list | tuple | set | frozenset):
        return TaskKind.TAGGING, "the cells are lists"
    if sum(isinstance(cell, str) and "|" in cell for cell in cells) > 0.2 * len(cells):
        return TaskKind.TAGGING, "the cells list tags between '|'"
    counts = Counter(cells if all(type(cell) is str for cell in cells) else map(category_text, cells))
    values, rows = parse_numbers(list(counts)), np.array(list(counts.values()))
    unreadable = np.isnan(values)
    if rows[unreadable].sum() < 0.01 * rows.sum():
        whole = bool((values[~unreadable] % 1 == 0).all())
        if whole and len(counts) <= MAX_INTEGER_CLASSES:
            return TaskKind.CLASSIFICATION, f"whole numbers with {len(counts)} values"
        return TaskKind.REGRESSION, "numbers with many values" if whole else "numbers with fractions"
    num_texts = len({text.strip() for text in counts})
    if num_texts > MAX_INTEGER_CLASSES and num_texts > 0.5 * len(cells):
        return _writing_task(column, f"{num_texts} different texts in {len(cells)} cells", fields, learnt)
    return TaskKind.CLASSIFICATION, f"texts with {num_texts} values{_order_words(column, sorted(counts))}"


def _order_words(column: str, names: Sequence[str]) -> str:
    """A hint where the texts form a known order; whether it matters is the user's to say."""
    names = sorted({name.strip() for name in names})
    # Letters are as often names as grades
    order = known_order(names) if len(names) > 2 and len(max(names, key=len)) > 2 else None
    return f"; in the order {' < '.join(order)} with --task {column}=ordinal" if order is not None else ""


def _writing_task(
    column: str, what: str, fields: Sequence[Field], learnt: Collection[TaskKind]
) -> tuple[TaskKind, str]:
    """Transcription with exactly one sound, captioning with a picture and no sound, else the user must say."""
    num_sounds = sum(item.modality is Modality.AUDIO for item in fields)
    has_picture = any(item.modality is Modality.IMAGE for item in fields)
    kind = None
    if num_sounds == 1:
        kind = TaskKind.TRANSCRIPTION
    elif has_picture and not num_sounds:
        kind = TaskKind.CAPTIONING
    if kind is None or kind not in learnt:
        raise InputError(
            f"label '{column}' holds {what}: texts to write, not classes",
            where=f"That would be {kind.value}, which this version does not learn" if kind else "",
            fix=f"Say --task {column}=captioning (or transcription, answering) to learn to write them, "
            f"--task {column}=classification or {column}=tagging if they are classes",
        )
    return kind, what


def _classes(table: Table, column: str, kind: TaskKind, cells: list[Any], order: str | None = None) -> tuple[str, ...]:
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
    if kind not in (TaskKind.TAGGING, TaskKind.CLASSIFICATION, TaskKind.ORDINAL):
        return ()
    if kind is TaskKind.TAGGING:
        names = sorted({tag for cell in cells for tag in tag_texts(cell) or ()})
    else:
        names = sorted({text for cell in cells if (text := class_text(cell)) is not None})
    if len(names) < (1 if kind is TaskKind.TAGGING else 2):
        raise InputError(
            f"label '{column}' has one class ('{names[0]}')" if names else f"label '{column}' has no class",
            where=f"in {table.name}",
            fix="Give rows of at least two classes",
        )
    if len(names) > MAX_CLASSES:
        raise InputError(f"label '{column}' has {len(names)} classes", fix=f"At most {MAX_CLASSES} are learnt")
    return order_levels(column, names, order) if kind is TaskKind.ORDINAL else tuple(names)


def infer_target(
    table: Table,
    column: str,
    wanted: str | None,
    *,
    fields: Sequence[Field] = (),
    learnt: Collection[TaskKind] = TRAINABLE,
) -> Target:
    """The target of one label column.

    Args:
        table: The table.
        column: The label.
        wanted: The task kind that the user says, or None; `ordinal:low<medium<high` says the order of levels too.
        fields: What it is to be predicted from; decides between transcription and captioning.
        learnt: Task kinds that may be answered.

    Raises:
        InputError: The column is absent, empty, of one class, or no task fits.
    """
    _check_name(table, column, "--label")
    cells = table.cells(column)
    known = [cell for cell in cells if cell is not None]
    if not known:
        raise InputError(f"every cell of the label '{column}' is missing", fix="Give rows with a label")
    order = None
    if wanted is None:
        kind, reason = _task_of(column, known, fields, learnt)
    else:
        name, order = _split_task(column, wanted)
        kind, reason = _wanted_task(column, name, learnt), "said by --task"
    _check_condition(column, kind, fields)
    return Target(column, kind, _classes(table, column, kind, cells, order), reason, _missing_share(cells))


def _check_condition(column: str, kind: TaskKind, fields: Sequence[Field]) -> None:
    """Refuse a transcription without exactly one sound and an answer without a question."""
    counts = Counter(item.modality for item in fields)
    if kind is TaskKind.TRANSCRIPTION and counts[Modality.AUDIO] != 1:
        raise InputError(
            f"--task {column}=transcription needs one field of sound, there are {counts[Modality.AUDIO]}",
            fix="Name it with --field COLUMN=audio, and --drop the others",
        )
    if kind is TaskKind.ANSWERING and not counts[Modality.TEXT]:
        raise InputError(
            f"--task {column}=answering needs a field of text that holds the question",
            fix=f"Name it with --field COLUMN=text, or say --task {column}=captioning",
        )


def _drop_absent(kinds: dict[str, tuple[Kind, float]]) -> None:
    """A media column without a single file is only kept where it is the only hope: fit then says what is wrong."""
    some = any(kind.role == "field" and kind.modality is not None for kind, _ in kinds.values())
    for column, (kind, missing) in kinds.items():
        if kind.role == "absent":
            kinds[column] = (Kind(None, kind.reason, "drop") if some else Kind(kind.modality, kind.reason), missing)


def _with_places(sample: Table, found: list[Field], said: Mapping[str, str]) -> list[Field]:
    """Number columns named latitude and longitude become one place."""
    numbers = {item.name for item in found if item.modality is Modality.NUMBER and item.name not in said}
    parts: dict[str, tuple[str, str]] = {}
    for latitude, longitude, name in place_columns(item.name for item in found if item.name in numbers):
        if _within(sample, latitude, -90, 90) and _within(sample, longitude, -180, 360):
            while any(item.name == name and item.name not in (latitude, longitude) for item in found):
                name += "_"
            parts[latitude] = (name, f"the latitude of '{name}', by its name and values")
            parts[longitude] = (name, f"the longitude of '{name}', by its name and values")
    return [
        replace(item, modality=Modality.PLACE, part_of=parts[item.name][0], reason=parts[item.name][1])
        if item.name in parts
        else item
        for item in found
    ]


def _within(sample: Table, column: str, low: float, high: float) -> bool:
    values = parse_numbers(sample.cells(column))
    known = values[~np.isnan(values)]
    return bool(((known >= low) & (known <= high)).all())


def holds_dates(table: Table, column: str) -> bool:
    """Whether a column's cells are read as dates, whatever its role."""
    return judge(column, _sample(table).cells(column)).modality is Modality.DATE


def infer_schema(
    table: Table,
    labels: tuple[str, ...],
    *,
    fields: Mapping[str, str],
    tasks: Mapping[str, str],
    drop: tuple[str, ...],
    group: str | None,
    time: str | None,
    learnt: Collection[TaskKind] = TRAINABLE,
    door: Headers | None = None,
) -> Schema:
    """Infer the roles of all columns.

    Args:
        table: The table.
        labels: Columns to predict (may be empty for `inspect`).
        fields: Column to modality, overriding what is inferred.
        tasks: Label column to task kind, overriding what is inferred; see `infer_target`.
        drop: Columns to leave out.
        group: Column of groups, not a field unless `fields` names it.
        time: Column of times, not a field unless `fields` names it.
        learnt: Task kinds that a label may have; `tuple(TaskKind)` only to look at a table.
        door: Opens some videos to see whether they have sound, which then is a field of its own; None looks at none.

    Returns:
        The schema.

    Raises:
        InputError: A named column is absent, a name is unknown, or nothing is left to learn from.
        MissingDependencyError: A column holds videos, and nothing is installed that reads them.
    """
    _check_options(table, labels, fields, tasks, drop, group, time)
    repeated = [name for name, count in Counter(labels).items() if count > 1]
    if repeated:
        raise InputError(f"--label names '{repeated[0]}' twice", fix="Name each label once")
    dropped = dict.fromkeys(drop, "left out by --drop")
    for column, role in ((group, "the group"), (time, "the time")):
        if column is not None and column not in fields and column not in labels:
            dropped[column] = f"it is {role} of a row, not a field"
    rest = [column for column in table.columns if column not in labels and column not in dropped]
    sample = _sample(table)
    kinds = {column: _field_of(sample, column, fields.get(column)) for column in rest}
    _drop_absent(kinds)
    found = [
        Field(column, kind.modality, kind.reason, missing)
        for column, (kind, missing) in kinds.items()
        if kind.modality is not None
    ]
    found = _with_places(sample, found, fields)
    found = _with_sound(found, sample, table, drop, door)
    targets = tuple(infer_target(table, column, tasks.get(column), fields=found, learnt=learnt) for column in labels)
    ids = tuple(column for column, (kind, _) in kinds.items() if kind.role == "id")
    dropped |= {column: kind.reason for column, (kind, _) in kinds.items() if kind.modality is None}
    if not found and labels:
        listed = "; ".join(f"{column}: {reason}" for column, reason in dropped.items())
        raise InputError(
            f"{table.name} has no field to learn from", where=listed, fix="Name one with --field COLUMN=MODALITY"
        )
    return Schema(tuple(found), targets, ids, group, time, dropped)


def _with_sound(
    found: list[Field], sample: Table, table: Table, drop: tuple[str, ...], door: Headers | None
) -> list[Field]:
    """The fields with the sound tracks of videos, unless these are dropped."""
    for item in found:
        if item.modality is Modality.VIDEO:
            need_video(item.name)
    fields = found if door is None else with_sound_tracks(found, sample, door=door, names=table.columns)
    for name in drop:
        if name not in table.columns and all(item.name != name for item in fields):
            _check_name(table, name, "--drop")
    return [item for item in fields if item.name not in drop]


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
            # The sound of a video is known only once videos have been looked at
            if option != "--drop" or name.rstrip("_").removesuffix(SUFFIX) not in table.columns:
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
    for name in drop:
        if name in fields:
            raise InputError(f"--drop and --field both name '{name}'", fix="Leave one of them out")
    for name in tasks:
        if name not in labels:
            raise InputError(f"--task names '{name}', which is no label", fix=f"Say --label {name} too")
