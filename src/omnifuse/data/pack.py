"""Decoded cells of a whole table, packed: every present row's arrays end to end, decoded once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.cache import MediaCache
from omnifuse.data.decoded import CUT, PARTLY, REPAIRED, SERIES_WORDS, DecodedMedium
from omnifuse.data.media import MediaDoor
from omnifuse.data.media_container import need_video
from omnifuse.data.media_parts import MOST_PARTS, each_part, media_parts
from omnifuse.data.place import paired
from omnifuse.data.table import TablePreprocessor
from omnifuse.data.tables import Table
from omnifuse.data.workers import WorkerPool, decode_once
from omnifuse.errors import InputError
from omnifuse.schema import Finding, Input, Modality, Schema

# Less than this is decoded at once in this process: starting workers takes 0.25 s, handing a medium over and back takes
# about as long as decoding a tiny one, and two cores gain only half of the rest. 16,000 are about 0.4 s of decoding.
# A medium counts as (fixed part + bytes / bytes that count as one): as measured for PNG, and for sounds, whose decoding
# goes by their length, between WAV and MP3.
MIN_CELLS_FOR_WORKERS = 16_000
_WORTH = {Modality.IMAGE: (1.0, 1536), Modality.AUDIO: (20.0, 1024), Modality.VIDEO: (400.0, 256)}
# Of which a cell may hold several
_SEVERAL = (Modality.IMAGE, Modality.AUDIO)
_ROWS_NAMED = 20
_NO_VALUE = frozenset(("na", "n/a", "nan", "null", "none", "nat", "nil", "-", "?", "<na>", "missing", "unknown"))


@dataclass(frozen=True)
class PackedRows:
    """Some rows of a pack: values concatenated over the P present rows, lengths (P,), present (B,)."""

    values: dict[str, np.ndarray]
    lengths: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class Remark:
    """What was left out or changed of a medium that was read (`kind` is that of its finding)."""

    row: int
    field: str
    kind: str
    text: str


@dataclass(frozen=True)
class Pack:
    """One input of all rows.

    Attributes:
        arrays: Array name to the rows' arrays, concatenated along their leading length axis.
        offsets: (R + 1,) int64; row r owns arrays[offsets[r]:offsets[r + 1]], nothing where it is absent.
        present: (R,) bool.
        remarks: Media that were cut or repaired, in the order of the rows.
        features: What a frozen backbone makes of the rows, along the same length axis; networks then read this in the
            place of the arrays. None without one.
    """

    arrays: dict[str, np.ndarray]
    offsets: np.ndarray
    present: np.ndarray
    remarks: tuple[Remark, ...] = ()
    features: np.ndarray | None = None

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
        read = self.arrays if self.features is None else {"features": self.features}
        return PackedRows({name: array[index] for name, array in read.items()}, lengths, present)

    @property
    def bare(self) -> Pack:
        """The same without features."""
        return self if self.features is None else replace(self, features=None)

    def row(self, row: int) -> dict[str, np.ndarray]:
        """The arrays of one row (views)."""
        start, stop = self.offsets[row], self.offsets[row + 1]
        return {name: array[start:stop] for name, array in self.arrays.items()}


def stack_packs(first: Pack, rows: np.ndarray, second: Pack) -> Pack:
    """Some rows of one pack, then all of another of the same input; without remarks."""
    taken = first.bare.take(rows)
    lengths = np.zeros(len(rows), np.int64)
    lengths[taken.present] = taken.lengths
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([lengths, second.lengths]))]).astype(np.int64)
    arrays = {name: np.concatenate([array, second.arrays[name]]) for name, array in taken.values.items()}
    return Pack(arrays, offsets, np.concatenate([taken.present, second.present]))


@dataclass(frozen=True)
class BadCell:
    """A cell that could not be read and counts as missing."""

    row: int
    field: str
    reason: str


def _is_value(cell: Any) -> bool:
    return cell is not None and not (isinstance(cell, str) and cell.strip().lower() in _NO_VALUE)


def _cells(table: Table, column: str) -> list[Any]:
    """Cells of a column; all missing where the table has no such column."""
    return table.cells(column) if column in table.columns else [None] * table.num_rows


def _join(parts: list[dict[str, np.ndarray] | None], preprocessor: Any, remarks: Iterable[Remark] = ()) -> Pack:
    """Concatenate the rows' arrays; None = absent. `parts` is emptied on the way: all is in memory once, not twice."""
    present = np.array([part is not None for part in parts], bool)
    lengths = np.array([0 if part is None else len(next(iter(part.values()))) for part in parts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    first = next((part for part in parts if part is not None), None)
    if first is None:
        return Pack(preprocessor.empty(), offsets, present)
    total = int(offsets[-1])
    arrays = {name: np.empty((total, *array.shape[1:]), array.dtype) for name, array in first.items()}
    for row, part in enumerate(parts):
        for name, array in (part or {}).items():
            arrays[name][offsets[row] : offsets[row + 1]] = array
        parts[row] = None
    return Pack(arrays, offsets, present, tuple(remarks))


def _table_pack(table: Table, item: Input, preprocessor: TablePreprocessor) -> tuple[Pack, list[BadCell]]:
    columns: dict[str, list[Any]] = {}
    numeric = {column.name for column in preprocessor.numbers}
    for name in item.columns:
        cells = _cells(table, name)
        columns[name] = [cell if _is_value(cell) else None for cell in cells] if name in numeric else cells
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
    """Cells that are no media: quick, in this process."""
    parts: list[dict[str, np.ndarray] | None] = []
    bad = []
    for row, cell in enumerate(cells):
        try:
            parts.append(None if cell is None or not (words or _is_value(cell)) else preprocessor(cell))
        except InputError as error:
            bad.append(BadCell(row, name, error.what))
            parts.append(None)
    return _join(parts, preprocessor), bad


def _is_worth_workers(cells: list[Any], modality: Modality, door: MediaDoor, count: int) -> bool:
    """Whether `count` processes gain more than starting them takes; what is decoded already stays in this one."""
    fixed, bytes_of_one = _WORTH[modality]
    # N processes save (N - 1) / N of the time
    enough = MIN_CELLS_FOR_WORKERS * max(count, 2) / (max(count, 2) - 1)
    work = 0.0
    for cell in cells:
        if isinstance(cell, str | Path | bytes | bytearray):
            # One medium alone is decoded no sooner by another process
            work += min(fixed + door.size(cell) / bytes_of_one, enough / 2)
        if work >= enough:
            return True
    return False


def _media_pack(
    cells: list[Any],
    name: str,
    preprocessor: Any,
    *,
    door: MediaDoor,
    num_workers: int | None,
    cache_dir: Path | None,
    is_part: bool = False,
) -> tuple[Pack, list[BadCell]]:
    """Media: from the cache where their content is known, else decoded, by workers where there is much to do.

    Several media of one cell are read one after another: pictures are stacked, sounds joined end to end. `is_part` says
    that they are the sound of a video column, where a video without sound is no fault.
    """
    given = [cell if _is_value(cell) else None for cell in cells]
    several = Modality(preprocessor.kind) in _SEVERAL
    listed = list(each_part(given)) if several else [(row, cell) for row, cell in enumerate(given) if cell is not None]
    rows, media = [row for row, _ in listed], [part for _, part in listed]
    answers: Iterator[DecodedMedium | str]
    count = _num_cores() if num_workers is None else num_workers
    if count and _is_worth_workers(media, Modality(preprocessor.kind), door, count):
        with WorkerPool(count, cache_dir=cache_dir) as pool:
            answers = pool.decode(media, preprocessor, door)
    else:
        cache = MediaCache(cache_dir) if cache_dir is not None else None
        answers = (decode_once(cell, preprocessor, door, cache) for cell in media)
    parts: list[dict[str, np.ndarray] | None] = [None] * len(cells)
    bad: list[BadCell] = []
    remarks: list[Remark] = []
    for row, found in itertools.groupby(zip(rows, answers, strict=True), key=lambda pair: pair[0]):
        read = [answer for _, answer in found]
        good = [answer for answer in read if not isinstance(answer, str) and len(next(iter(answer.values())))]
        reasons = [answer for answer in read if isinstance(answer, str)]
        if not good:
            if reasons or not is_part:
                bad.append(BadCell(row, name, reasons[0] if reasons else "The video has no sound track."))
            continue
        parts[row] = good[0] if len(good) == 1 else _stacked(good)
        if reasons:
            text = f"{len(reasons)} of {len(read)} media of the cell cannot be read: {reasons[0]}"
            remarks.append(Remark(row, name, PARTLY, text))
        if len(read) == MOST_PARTS < len(media_parts(cells[row])):
            remarks.append(Remark(row, name, CUT, f"only the first {MOST_PARTS} media of the cell are used"))
        remarks += [Remark(row, name, kind, text) for answer in good for kind, text in answer.remarks]
    return _join(parts, preprocessor, remarks), bad


def _stacked(answers: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _series_pack(cells: list[Any], name: str, preprocessor: Any, door: MediaDoor) -> tuple[Pack, list[BadCell]]:
    """Series: most lie in the table itself and none takes long, so they are read at once in this process."""
    return _media_pack(cells, name, preprocessor, door=door, num_workers=0, cache_dir=None)


def _num_cores() -> int:
    """Cores that this process may use, 8 at most."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 8)


def media_findings(packs: Mapping[str, Pack]) -> list[Finding]:
    """What was left out or changed of media that were read: counted, with the first rows."""
    what = {
        CUT: "are longer than what is read of them",
        PARTLY: "are read in part: some of the media of their cell are broken",
        REPAIRED: "hold samples or pixels that are no numbers",
        **SERIES_WORDS,
    }
    found = []
    for name, pack in packs.items():
        for kind, words in what.items():
            remarks = [remark for remark in pack.remarks if remark.kind == kind]
            if remarks:
                num_media = len({remark.row for remark in remarks})
                text = f"{num_media} of {int(pack.present.sum())} media in '{name}' {words}, the first: "
                rows = tuple(remark.row for remark in remarks[:_ROWS_NAMED])
                found.append(Finding(kind, name, text + remarks[0].text, "warning", rows))
    return found


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
        num_workers: Processes for media; None takes one a core (8 at most), 0 none.
        cache_dir: Folder of decoded media, or None for none.

    Returns:
        Input name to pack, and the cells that could not be read (they count as missing). Media that were read in part
        or changed are named by `Pack.remarks` and counted by `media_findings`.
    """
    packs: dict[str, Pack] = {}
    bad: list[BadCell] = []
    for item in schema.inputs:
        preprocessor = preprocessors[item.name]
        if item.modality is Modality.TABLE:
            packs[item.name], wrong = _table_pack(table, item, preprocessor)
        else:
            columns = [_cells(table, name) for name in item.columns]
            cells = columns[0] if len(columns) == 1 else paired(*columns)
            if item.modality is Modality.SERIES:
                packs[item.name], wrong = _series_pack(cells, item.name, preprocessor, door)
            elif item.modality.is_media:
                if item.modality is Modality.VIDEO and any(cell is not None for cell in cells):
                    need_video(item.name)
                packs[item.name], wrong = _media_pack(
                    cells,
                    item.name,
                    preprocessor,
                    door=door,
                    num_workers=num_workers,
                    cache_dir=cache_dir,
                    is_part=item.columns != (item.name,),
                )
            else:
                packs[item.name], wrong = _plain_pack(
                    cells, item.name, preprocessor, words=item.modality is Modality.TEXT
                )
        bad += wrong
    return packs, bad
