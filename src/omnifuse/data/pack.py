"""Decoded cells of a whole table, packed: every present row's arrays end to end, decoded once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.cache import MediaCache
from omnifuse.data.media import MediaDoor
from omnifuse.data.table import TablePreprocessor
from omnifuse.data.tables import Table
from omnifuse.data.workers import WorkerPool, decode_cell
from omnifuse.errors import InputError, MediaError
from omnifuse.schema import Input, Modality, Schema

# Fewer media than this are decoded at once in this process: starting workers takes longer
MIN_CELLS_FOR_WORKERS = 64
_NO_VALUE = frozenset(("na", "n/a", "nan", "null", "none", "nat", "nil", "-", "?", "<na>", "missing", "unknown"))


@dataclass(frozen=True)
class PackedRows:
    """Some rows of a pack: values concatenated over the P present rows, lengths (P,), present (B,)."""

    values: dict[str, np.ndarray]
    lengths: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class Pack:
    """One input of all rows.

    Attributes:
        arrays: Array name to the rows' arrays, concatenated along their leading length axis.
        offsets: (R + 1,) int64; row r owns arrays[offsets[r]:offsets[r + 1]], nothing where it is absent.
        present: (R,) bool.
    """

    arrays: dict[str, np.ndarray]
    offsets: np.ndarray
    present: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(R,) int64 length of each row, 0 where absent."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray) -> PackedRows:
        """Rows in the given order.

        Args:
            rows: (B,) row numbers.
        """
        present = self.present[rows]
        chosen = np.asarray(rows)[present]
        starts = self.offsets[chosen]
        lengths = self.offsets[chosen + 1] - starts
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        index = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
        return PackedRows({name: array[index] for name, array in self.arrays.items()}, lengths, present)

    def row(self, row: int) -> dict[str, np.ndarray]:
        """The arrays of one row (views)."""
        start, stop = self.offsets[row], self.offsets[row + 1]
        return {name: array[start:stop] for name, array in self.arrays.items()}


@dataclass(frozen=True)
class BadCell:
    """A cell that could not be read and counts as missing."""

    row: int
    field: str
    reason: str


def _is_value(cell: Any) -> bool:
    return cell is not None and not (isinstance(cell, str) and cell.strip().lower() in _NO_VALUE)


def empty_arrays(preprocessor: Any) -> dict[str, np.ndarray]:
    """Arrays of length 0 as this preprocessor makes them."""
    kind = preprocessor.kind
    if kind == Modality.IMAGE:
        return {"pixels": np.zeros((0, preprocessor.height, preprocessor.width, 3), np.uint8)}
    if kind == Modality.AUDIO:
        return {"log_mel": np.zeros((0, preprocessor.num_columns), np.float32)}
    if kind == Modality.TEXT:
        return {"ids": np.zeros(0, np.int32)}
    if kind == Modality.DATE:
        return {"seconds": np.zeros(0, np.int64)}
    return dict(preprocessor.rows({preprocessor.columns[0]: []} if preprocessor.columns else {}))


def _join(parts: list[dict[str, np.ndarray] | None], preprocessor: Any) -> Pack:
    """Concatenate the rows' arrays; None = absent."""
    present = np.array([part is not None for part in parts], bool)
    lengths = np.array([0 if part is None else len(next(iter(part.values()))) for part in parts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    found = [part for part in parts if part is not None]
    names = found[0] if found else empty_arrays(preprocessor)
    arrays = {name: np.concatenate([part[name] for part in found]) for name in names} if found else dict(names)
    return Pack(arrays, offsets, present)


def _table_pack(table: Table, item: Input, preprocessor: TablePreprocessor) -> tuple[Pack, list[BadCell]]:
    columns: dict[str, list[Any]] = {}
    for name in item.columns:
        cells = table.cells(name) if name in table.columns else [None] * table.num_rows
        numeric = any(column.name == name for column in preprocessor.numbers)
        columns[name] = [cell if _is_value(cell) else None for cell in cells] if numeric else cells
    arrays = preprocessor.rows(columns)
    bad = []
    for index, column in enumerate(preprocessor.numbers):
        for row in np.flatnonzero(arrays["missing"][:, index]):
            cell = columns[column.name][int(row)]
            if cell is not None:
                bad.append(BadCell(int(row), column.name, f"'{str(cell)[:40]}' is not a number"))
    present = np.asarray(~arrays["missing"].all(axis=1))
    offsets = np.concatenate([[0], np.cumsum(present)]).astype(np.int64)
    return Pack({name: array[present] for name, array in arrays.items()}, offsets, present), bad


def _plain_pack(cells: list[Any], name: str, preprocessor: Any, *, words: bool) -> tuple[Pack, list[BadCell]]:
    """Texts and dates: quick, in this process."""
    parts: list[dict[str, np.ndarray] | None] = []
    bad = []
    for row, cell in enumerate(cells):
        try:
            parts.append(None if cell is None or not (words or _is_value(cell)) else preprocessor(cell))
        except InputError as error:
            bad.append(BadCell(row, name, error.what))
            parts.append(None)
    return _join(parts, preprocessor), bad


def _media_pack(
    cells: list[Any],
    name: str,
    preprocessor: Any,
    *,
    door: MediaDoor,
    pool: WorkerPool | None,
    cache: MediaCache | None,
) -> tuple[Pack, list[BadCell]]:
    """Media: from the cache where their content is known, else decoded, by workers where there are many."""
    parts: list[dict[str, np.ndarray] | None] = [None] * len(cells)
    bad: list[BadCell] = []
    keys: dict[int, str] = {}
    todo: list[int] = []
    for row, cell in enumerate(cells):
        if not _is_value(cell):
            continue
        try:
            keys[row] = door.content_key(cell) if cache is not None else ""
        except MediaError as error:
            bad.append(BadCell(row, name, str(error)))
            continue
        known = cache.get(keys[row], preprocessor) if cache is not None else None
        parts[row] = known
        if known is None:
            todo.append(row)
    if pool is not None and len(todo) >= MIN_CELLS_FOR_WORKERS:
        answers = pool.decode([cells[row] for row in todo], preprocessor, door)
    else:
        answers = (decode_cell(cells[row], preprocessor, door) for row in todo)
    for row, answer in zip(todo, answers, strict=True):
        if isinstance(answer, str):
            bad.append(BadCell(row, name, answer))
        else:
            parts[row] = answer
            if cache is not None:
                cache.put(keys[row], preprocessor, answer)
    return _join(parts, preprocessor), sorted(bad, key=lambda item: item.row)


def build_packs(
    table: Table,
    schema: Schema,
    preprocessors: Mapping[str, Any],
    *,
    door: MediaDoor,
    num_workers: int | None = None,
    cache_dir: Path | None = None,
) -> tuple[dict[str, Pack], list[BadCell]]:
    """Decode every cell of a table's inputs.

    Args:
        table: Rows to read; absent columns count as missing.
        schema: Says which columns make which input.
        preprocessors: Input name to fitted preprocessor.
        door: Decodes media.
        num_workers: Processes for media; None takes one a core, 0 none.
        cache_dir: Folder of decoded media, or None for none.

    Returns:
        Input name to pack, and the cells that could not be read (they count as missing).
    """
    packs: dict[str, Pack] = {}
    bad: list[BadCell] = []
    cache = MediaCache(cache_dir) if cache_dir is not None else None
    count = min(os.cpu_count() or 1, 8) if num_workers is None else num_workers
    with WorkerPool(count) as pool:
        for item in schema.inputs:
            preprocessor = preprocessors[item.name]
            if item.modality is Modality.TABLE:
                packs[item.name], wrong = _table_pack(table, item, preprocessor)
                bad += wrong
                continue
            cells = table.cells(item.columns[0]) if item.columns[0] in table.columns else [None] * table.num_rows
            if item.modality.is_media:
                found = _media_pack(
                    cells, item.name, preprocessor, door=door, pool=pool if count else None, cache=cache
                )
            else:
                found = _plain_pack(cells, item.name, preprocessor, words=item.modality is Modality.TEXT)
            packs[item.name] = found[0]
            bad += found[1]
    return packs, bad
