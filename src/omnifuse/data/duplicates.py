"""Rows and cells that occur more than once: within one table, and in both the training and the test table."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from omnifuse.data.media_parts import media_parts
from omnifuse.errors import MediaError
from omnifuse.schema import Finding, Modality, Schema, TaskKind

ROWS_SHOWN = 20
_LONGEST_KEY = 64
_MOST_CELLS = 4_000_000
_FEWEST_ROWS = 1_000
_LONGEST_TEXT = 5_000
_SHORTEST_NEAR = 8
_MOST_PICTURES = 500
_PICTURE_DIFFERENCE = 0.02
_NOT_LETTERS = re.compile(r"[\W\d_]")
LABELLED = (TaskKind.CLASSIFICATION, TaskKind.ORDINAL)


class Sheet:
    """Evenly spread rows of a table, read in one pass where the table can `select`.

    Args:
        table: Anything with ``num_rows``, ``columns`` and ``cells(column, rows)``.
        sample: At most this many rows are read; fewer where there are very many columns.
        door: Opens media; None = media stay closed.
    """

    def __init__(self, table: Any, sample: int, door: Any = None) -> None:
        self.table, self.door = table, door
        self.rows = spread(table.num_rows, min(sample, max(_FEWEST_ROWS, _MOST_CELLS // max(len(table.columns), 1))))
        is_part = len(self.rows) < table.num_rows and hasattr(table, "select")
        self._part = table.select(self.rows) if is_part else None
        self._cells: dict[str, list[Any]] = {}
        self._keys: dict[tuple[str, bool], list[str | None]] = {}

    def cells(self, column: str) -> list[Any]:
        """Cells of the column at `rows`; None where missing or where the table has no such column."""
        if column not in self._cells:
            if column not in self.table.columns:
                self._cells[column] = [None] * len(self.rows)
            elif self._part is not None:
                self._cells[column] = self._part.cells(column)
            else:
                self._cells[column] = self.table.cells(column, self.rows)
        return self._cells[column]

    def keys(self, column: str, *, media: bool = False) -> list[str | None]:
        """Texts that are equal where the cells are; for media the hash of the content where a door is there."""
        if (column, media) not in self._keys:
            self._keys[column, media] = [
                None if cell is None else self._media_key(cell) if media else cell_key(cell)
                for cell in self.cells(column)
            ]
        return self._keys[column, media]

    def row_keys(self, schema: Schema) -> list[tuple[str | None, ...]]:
        """One key a row over all fields."""
        columns = [self.keys(item.name, media=item.modality.is_media) for item in schema.fields]
        return list(zip(*columns, strict=True)) if columns else []

    def shown(self, places: Iterable[int]) -> tuple[int, ...]:
        """The first places in the sheet, as row numbers of the table."""
        return tuple(int(self.rows[place]) for place in sorted(places)[:ROWS_SHOWN])

    def _media_key(self, cell: Any) -> str:
        if self.door is None:
            return cell_key(cell)
        try:
            return "+".join(str(self.door.content_key(part)) for part in media_parts(cell))
        except MediaError:
            # A file that cannot be opened is still the same file in two rows
            return "?" + cell_key(cell)


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` row numbers, evenly spread over `count` rows."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.unique(np.linspace(0, count - 1, max(most, 1)).round().astype(np.int64))


def cell_key(cell: Any) -> str:
    """A short text that is equal for equal cells: 1, 1.0 and "1" are the same, long texts are hashed.

    Example:
        >>> cell_key(1.0), cell_key(" cat ")
        ('1', 'cat')
    """
    if isinstance(cell, str):
        text = cell.strip()
        return text if len(text) <= _LONGEST_KEY else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    if isinstance(cell, bytes | bytearray):
        return hashlib.sha256(cell).hexdigest()
    if isinstance(cell, np.ndarray) and cell.dtype != object:
        head = f"{cell.shape}{cell.dtype}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(cell).tobytes()).hexdigest()
    if isinstance(cell, tuple) and any(isinstance(part, np.ndarray) for part in cell):
        # A text of it would leave out the middle of a long array
        return "|".join(cell_key(part) for part in cell)
    if isinstance(cell, float | np.floating) and math.isfinite(cell) and float(cell).is_integer():
        return str(int(cell))
    return cell_key(str(cell))


def duplicate_findings(sheet: Sheet, schema: Schema) -> list[Finding]:
    """Rows that are equal in all fields: with the same targets (duplicate) or with another label (conflict)."""
    groups = _places_by_key(key if any(part is not None for part in key) else None for key in sheet.row_keys(schema))
    answers = list(zip(*(sheet.keys(item.name) for item in schema.targets), strict=True)) or [()] * len(sheet.rows)
    labels = [sheet.keys(item.name) for item in schema.targets if item.kind in LABELLED]
    same: list[int] = []
    conflicting: list[int] = []
    for places in groups:
        seen: set[tuple[str | None, ...]] = set()
        for place in places:
            if answers[place] in seen:
                same.append(place)
            seen.add(answers[place])
        if any(len({cells[place] for place in places} - {None}) > 1 for cells in labels):
            conflicting += places
    found = []
    if same:
        text = f"{len(same)} rows repeat an earlier row in all fields and targets: remove them or keep them together"
        found.append(Finding("duplicate", "", text + " in one part with --group", "warning", sheet.shown(same)))
    if conflicting:
        text = f"{len(conflicting)} rows are equal in all fields but differ in their label: check these labels"
        found.append(Finding("conflict", "", text, "warning", sheet.shown(conflicting)))
    return found


def near_duplicate_findings(sheet: Sheet, schema: Schema) -> list[Finding]:
    """Texts that differ in case, digits, punctuation or spaces alone, and pictures that look the same."""
    found = []
    for item in schema.fields:
        if item.modality is Modality.TEXT:
            bare = [_bare_text(cell) for cell in sheet.cells(item.name)]
            places = _unlike_places(bare, sheet.keys(item.name))
            what = "texts differ from another one in case, digits, punctuation or spaces alone"
        elif item.modality is Modality.IMAGE and sheet.door is not None:
            places = _like_pictures(sheet, item.name)
            what = "pictures look the same as another one"
        else:
            continue
        if places:
            text = f"{len(places)} {what} in '{item.name}': keep such rows in one part with --group"
            found.append(Finding("near_duplicate", item.name, text, "info", sheet.shown(places)))
    return found


def overlap_findings(sheet: Sheet, test: Sheet, schema: Schema) -> list[Finding]:
    """Rows and media files of the test table that occur in the training table too."""
    found = []
    known = {key for key in sheet.row_keys(schema) if any(part is not None for part in key)}
    places = [place for place, key in enumerate(test.row_keys(schema)) if key in known]
    if places:
        text = f"{len(places)} rows of the test table are in the training table too: the test result is too good"
        found.append(Finding("overlap", "", text + "; remove them from one", "warning", test.shown(places)))
    for item in schema.fields:
        if not item.modality.is_media:
            continue
        files = set(sheet.keys(item.name, media=True)) - {None}
        shared = [place for place, key in enumerate(test.keys(item.name, media=True)) if key in files]
        if shared:
            text = f"{len(shared)} rows of the test table have a file in '{item.name}' that is used for training too"
            found.append(Finding("overlap", item.name, text, "warning", test.shown(shared)))
    return found


def _places_by_key(keys: Iterable[Hashable]) -> list[list[int]]:
    """Places of every key that occurs at least twice; None is no key."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            groups[key].append(place)
    return [places for places in groups.values() if len(places) > 1]


def _unlike_places(bare: Sequence[Hashable], exact: Sequence[str | None]) -> list[int]:
    """Places whose bare form is that of another, unlike cell."""
    groups = _places_by_key(bare)
    return [place for places in groups if len({exact[place] for place in places}) > 1 for place in places]


def _bare_text(cell: Any) -> str | None:
    if not isinstance(cell, str):
        return None
    bare = _NOT_LETTERS.sub("", cell[:_LONGEST_TEXT].lower())
    if len(bare) < _SHORTEST_NEAR:
        return None
    # The length tells texts apart that begin with the same characters
    return f"{len(cell)}:{bare}" if len(cell) > _LONGEST_TEXT else bare


def _like_pictures(sheet: Sheet, column: str) -> list[int]:
    """Places of pictures with the same average hash and nearly the same 8 x 8 thumbnail."""
    cells = sheet.cells(column)
    groups: dict[bytes, list[tuple[int, np.ndarray]]] = defaultdict(list)
    for place in spread(len(cells), _MOST_PICTURES).tolist():
        small = None if cells[place] is None else _thumbnail(sheet.door, cells[place])
        if small is not None:
            groups[np.packbits(small > small.mean()).tobytes()].append((place, small))
    keys = sheet.keys(column, media=True)
    like: set[int] = set()
    for group in groups.values():
        # The hash alone calls many plain pictures the same
        for (first, one), (second, two) in itertools.pairwise(group):
            if keys[first] != keys[second] and float(np.abs(one - two).mean()) < _PICTURE_DIFFERENCE:
                like |= {first, second}
    return sorted(like)


def _thumbnail(door: Any, cell: Any) -> np.ndarray | None:
    """8 x 8 mean brightness, 0 to 1; None for a picture that cannot be read or is smaller than that."""
    try:
        picture = np.asarray(door.image(next(iter(media_parts(cell)), cell)), dtype=np.float64)
    except MediaError:
        return None
    if picture.ndim == 3:
        picture = picture.mean(axis=0 if picture.shape[0] <= 4 else 2)
    if picture.ndim != 2 or min(picture.shape) < 8:
        return None
    for axis in (0, 1):
        edges = np.linspace(0, picture.shape[axis], 9).astype(int)
        sums = np.add.reduceat(picture, edges[:-1], axis=axis)
        picture = sums / np.diff(edges).reshape((-1, 1) if axis == 0 else (1, -1))
    return np.asarray(picture / (255.0 if picture.max() > 1.0 else 1.0))
