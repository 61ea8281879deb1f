"""From a table to packed arrays: schema, findings, preprocessors, decoded cells, encoded targets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.backbones import OpenedBackbones, feature_cache, with_features
from omnifuse.api.options import Listener, TableOptions
from omnifuse.api.ordering import time_blocks, time_ranks
from omnifuse.data.findings import find
from omnifuse.data.history import plain_schema, schema_with_history, with_history
from omnifuse.data.infer import infer_schema
from omnifuse.data.media import MediaDoor
from omnifuse.data.pack import BadCell, Pack, build_packs, media_findings
from omnifuse.data.past_texts import past_text_findings
from omnifuse.data.preprocessors import fit_preprocessors
from omnifuse.data.sound_tracks import SUFFIX
from omnifuse.data.tables import Table
from omnifuse.data.target_text import TextOptions, fit_target_texts, written_notes
from omnifuse.data.targets import encode_target
from omnifuse.errors import InputError
from omnifuse.evaluation import known_rows
from omnifuse.schema import Finding, Schema

if TYPE_CHECKING:
    from omnifuse.api.start import Start
    from omnifuse.api.unlabelled import Unlabelled


@dataclass(frozen=True)
class Prepared:
    """A table that is ready to be learnt from.

    Attributes:
        table: The rows as given, with the columns that are made of earlier rows.
        schema: Roles of the columns.
        findings: What its owner should know.
        preprocessors: Input name to preprocessor, fitted on the table's cells (never on labels); and target that is
            written to its vocabulary.
        packs: Input name to decoded arrays of all rows.
        targets: Target name to encoded cells of all rows (see `encode_target`).
        rows: Numbers of the rows that can be learnt from: something readable and at least one label.
        groups: (R,) int group (or block in time) of each row, or None.
        folds: (R,) int fold of each row where the table stands in the order of time, or None.
        times: (R,) float rank in time of each row, or None.
        notes: Sentences on what was left out and why.
        taught: Target to what a teacher answers to all rows, see `teaching`; empty without one.
        start: What networks begin with, or None.
        unlabelled: Rows without a label that networks learn from too, or None.
    """

    table: Table
    schema: Schema
    findings: list[Finding]
    preprocessors: dict[str, Any]
    packs: dict[str, Pack]
    targets: dict[str, np.ndarray]
    rows: np.ndarray
    groups: np.ndarray | None
    folds: np.ndarray | None
    times: np.ndarray | None
    notes: list[str]
    taught: dict[str, np.ndarray] = field(default_factory=dict)
    start: Start | None = None
    unlabelled: Unlabelled | None = None


def any_present(packs: dict[str, Pack], num_rows: int) -> np.ndarray:
    """(R,) bool: rows with at least one readable input."""
    found = np.zeros(num_rows, bool)
    for pack in packs.values():
        found |= pack.present
    return found


def check_bad_cells(bad: list[BadCell], table: Table, schema: Schema, options: TableOptions) -> list[str]:
    """Count unreadable cells a field; stop above the accepted share."""
    notes = []
    for name, count in Counter(cell.field for cell in bad).items():
        columns = next((item.columns for item in schema.inputs if item.name == name), (name,))
        filled = sum(cell is not None for column in columns for cell in table.cells(column))
        first = next(cell for cell in bad if cell.field == name)
        example = f"first in row {first.row + 1}: {first.reason}"
        if count > max(options.max_bad * filled, 0):
            raise InputError(
                f"{count} of {filled} cells of field '{name}' cannot be read, more than {options.max_bad:.1%}",
                where=example,
                fix="Mend the cells, or accept more with --max-bad SHARE",
            )
        notes.append(f"{count} unreadable cells of '{name}' count as missing ({example}).")
    return notes


def column_codes(table: Table, column: str | None) -> np.ndarray | None:
    """(R,) int64 code of each row's cell, equal where the cells are; None without a column."""
    if column is None:
        return None
    cells = ["" if cell is None else str(cell) for cell in table.cells(column)]
    return np.unique(np.asarray(cells, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def learnable_rows(
    packs: dict[str, Pack], targets: dict[str, np.ndarray], schema: Schema
) -> tuple[np.ndarray, list[str]]:
    """Rows with something readable and, where there are targets, at least one label.

    The others are counted, never dropped silently.
    """
    num_rows = len(next(iter(packs.values())).present)
    readable = any_present(packs, num_rows)
    labelled = np.full(num_rows, not schema.targets)
    for target in schema.targets:
        labelled |= known_rows(target.kind, targets[target.name])
    notes = []
    if not readable.all():
        notes.append(f"{int((~readable).sum())} rows have no readable field and are not learnt from.")
    if not labelled.all():
        notes.append(f"{int((~labelled).sum())} rows have no label and are not learnt from.")
    return np.flatnonzero(readable & labelled), notes


def read_schema(table: Table, options: TableOptions) -> Schema:
    """Infer the schema with the user's overrides, and with the past of each row where a time is named.

    Raises:
        InputError: As `infer_schema` and `schema_with_history`.
    """
    # What is made of earlier rows is known only once the columns are
    made = tuple(name for name in options.drop if options.time is not None and _may_be_made(table, name))
    schema = infer_schema(
        table,
        options.labels,
        fields=options.fields,
        tasks=options.tasks,
        drop=tuple(name for name in options.drop if name not in made),
        group=options.group,
        time=options.time,
        door=MediaDoor(root=table.root, confined=options.media_root is not None),
    )
    return schema_with_history(table, schema, options.window, drop=made)


def _may_be_made(table: Table, name: str) -> bool:
    """Whether a name is neither a column's nor that of the sound of one."""
    return name not in table.columns and name.rstrip("_").removesuffix(SUFFIX) not in table.columns


def prepare(
    table: Table,
    schema: Schema,
    options: TableOptions,
    *,
    input_options: dict[str, dict[str, Any]],
    listen: Listener,
    cache: Path | None,
    written: TextOptions | None = None,
    start: Start | None = None,
    backbones: OpenedBackbones | None = None,
    out: Path | None = None,
) -> Prepared:
    """Look for faults, fit preprocessors and decode every cell once.

    Args:
        table: Rows to learn from.
        schema: Roles of its columns.
        options: Of this fit.
        input_options: Input name to constructor options of its preprocessor (from the preset).
        listen: Hears of stages and notes.
        cache: Folder of decoded media, or None for none.
        written: How texts of targets become ids.
        start: A trained model whose preprocessing is taken where it reads the same inputs.
        backbones: Pretrained backbones whose preprocessing is taken where it is not that of `start`.
        out: Run folder, which holds the cache of features; None for no cache.

    Raises:
        InputError: Too many unreadable cells, or fewer than 10 rows to learn from.
    """
    table = with_history(table, schema.history)
    door = MediaDoor(root=table.root, confined=options.media_root is not None)
    listen("stage", {"text": f"reading {table.num_rows} rows: " + ", ".join(i.name for i in schema.inputs)})
    findings = find(table, plain_schema(schema))
    everything = np.arange(table.num_rows)
    preprocessors = fit_preprocessors(
        table,
        schema,
        rows=everything,
        options=input_options,
        door=door,
        known={
            **(backbones.preprocessors if backbones is not None else {}),
            **(start.preprocessors if start is not None else {}),
        },
    )
    packs, bad = build_packs(table, schema, preprocessors, door=door, cache_dir=cache)
    if any(hasattr(item, "backbone") for item in preprocessors.values()):
        packs = with_features(packs, preprocessors, cache=feature_cache(out) if out else None, listen=listen)
    findings = [*findings, *media_findings(packs), *past_text_findings(schema)]
    notes = check_bad_cells(bad, table, schema, options)
    texts = fit_target_texts({item.name: table.cells(item.name) for item in schema.written}, schema, written)
    preprocessors |= texts
    for name, text in texts.items():
        notes += written_notes(name, table.cells(name), text)
    targets = {item.name: encode_target(table.cells(item.name), item, texts.get(item.name)) for item in schema.targets}
    rows, left_out = learnable_rows(packs, targets, schema)
    if len(rows) < 10:
        raise InputError(
            f"only {len(rows)} rows can be learnt from",
            where="; ".join(notes + left_out) or f"the table has {table.num_rows} rows",
            fix=f"Give at least 10 rows with {'a label and ' if schema.targets else ''}a readable field",
        )
    notes += left_out
    groups, times = column_codes(table, options.group), time_ranks(table, options.time)
    blocks = time_blocks(table, schema, rows) if groups is None and times is None else None
    if blocks is not None:
        groups = blocks.codes
        notes.append(blocks.note)
    folds = None if blocks is None else blocks.folds
    if start is not None:
        notes.append(start.words)
    return Prepared(
        table, schema, findings, preprocessors, packs, targets, rows, groups, folds, times, notes, start=start
    )
