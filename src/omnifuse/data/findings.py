"""What the owner of a table should know before training: leaks, duplicates, holes, broken files, disorder in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from omnifuse.data.decoded import REPAIRED, SERIES_WORDS, UNREAD
from omnifuse.data.duplicates import (
    LABELLED,
    Sheet,
    cell_key,
    duplicate_findings,
    near_duplicate_findings,
    overlap_findings,
    spread,
)
from omnifuse.data.leaks import find_leak_columns
from omnifuse.data.media import MediaDoor
from omnifuse.data.media_parts import media_parts
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.personal import personal_findings
from omnifuse.data.series_order import JUMP, jump_starts, ordered_steps
from omnifuse.data.times import TimeReader
from omnifuse.errors import MediaError
from omnifuse.schema import Field, Finding, Modality, Schema, Target

__all__ = ["find", "find_leak_columns"]

_FEWEST_ROWS = 20
_LONGEST_ID = 64
_MOST_MEDIA = 200
_RATE_HZ = 16_000
_TRIED_S, _TRIED_SIDE = 5.0, 16
_FEWEST_OF_CLASS = 5
_UNEVEN = 20
_GAP = 10
_ORDER = {"error": 0, "warning": 1, "info": 2}


def find(
    table: Any, schema: Schema, *, test: Any = None, door: Any = None, sample: int = 20_000, seed: int = 0
) -> list[Finding]:
    """Look a table over.

    Args:
        table: Anything with ``num_rows``, ``columns`` and ``cells(column, rows)``.
        schema: The roles of its columns.
        test: A second table that is to be used for testing.
        door: Opens media: ``content_key(cell)``, ``image(cell)``, ``audio(cell, rate_hz)``. None = they stay closed.
        sample: All but the counts of labels is done on at most this many evenly spread rows.
        seed: Decides which rows are learned from and which are predicted in the search for leaks.

    Returns:
        Findings, the most severe first.
    """
    # The sound of a video stands in the video's column, which is looked at once
    schema = replace(schema, fields=tuple(item for item in schema.fields if item.source == item.name))
    sheet = Sheet(table, sample, door)
    found = [finding for item in schema.fields for finding in _field_findings(sheet, item)]
    found += [finding for item in schema.targets for finding in _target_findings(table, item)]
    found += duplicate_findings(sheet, schema) + near_duplicate_findings(sheet, schema)
    if test is not None:
        found += overlap_findings(sheet, Sheet(test, sample, door), schema)
    found += [finding for item in schema.targets for finding in _leak_findings(sheet, schema, item, seed)]
    for column in dict.fromkeys([*(item.name for item in schema.fields if _is_open(item)), *schema.ids]):
        found += personal_findings(column, sheet.cells(column), sheet.shown(_known(sheet.cells(column))))
    found += _time_findings(sheet, schema)
    return sorted(found, key=lambda finding: _ORDER.get(finding.severity, 3))


def _is_open(item: Field) -> bool:
    return not item.modality.is_media and item.modality is not Modality.SERIES


def _known(cells: list[Any]) -> list[int]:
    return [place for place, cell in enumerate(cells) if cell is not None]


class _Sampled:
    """The rows of a sheet as a table, so that no column is read twice."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet, self.num_rows = sheet, len(sheet.rows)

    def cells(self, column: str, rows: Any = None) -> list[Any]:
        """Cells at the rows of the sheet, whatever `rows` says."""
        return self._sheet.cells(column)


def _leak_findings(sheet: Sheet, schema: Schema, target: Target, seed: int) -> list[Finding]:
    fields = [item.name for item in schema.fields]
    others = {item.name for item in schema.targets} | set(fields)
    unused = [name for name in dict.fromkeys([*schema.dropped, *schema.ids]) if name not in others]
    return find_leak_columns(
        _Sampled(sheet),
        [name for name in fields + unused if name in sheet.table.columns],
        sheet.cells(target.name),
        target=target.name,
        kind=target.kind,
        rows=sheet.rows,
        modalities={item.name: item.modality for item in schema.fields},
        unused=unused,
        groups=sheet.cells(schema.group) if schema.group else None,
        seed=seed,
    )


def _field_findings(sheet: Sheet, item: Field) -> list[Finding]:
    cells = sheet.cells(item.name)
    known = _known(cells)
    found = []
    missing = 1.0 - len(known) / len(cells) if cells else 0.0
    if missing > 0.3:
        places = set(range(len(cells))) - set(known)
        text = f"'{item.name}' is empty" if not known else f"'{item.name}' is missing in {missing:.0%} of the rows"
        found.append(Finding("missing", item.name, text, "warning" if missing > 0.7 else "info", sheet.shown(places)))
    values = {sheet.keys(item.name)[place] for place in known}
    if len(known) > 1 and len(values) == 1:
        text = f"'{item.name}' has the same value in every row that has one: leave it out with --drop"
        found.append(Finding("constant", item.name, text, "warning", sheet.shown(known)))
    if (
        len(known) >= _FEWEST_ROWS
        and len(values) > 0.98 * len(known)
        and _looks_like_id(item, [cells[i] for i in known])
    ):
        text = f"'{item.name}' is different in nearly every row and looks like an identifier: give it with --id"
        found.append(Finding("identifier", item.name, text, "info", sheet.shown(known)))
    return found + (_broken_findings(sheet, item, known) if sheet.door is not None else [])


def _looks_like_id(item: Field, cells: list[Any]) -> bool:
    if item.modality not in (Modality.TEXT, Modality.CATEGORY, Modality.NUMBER):
        return False
    numbers = parse_numbers(cells)
    if np.isfinite(numbers).all():
        steps = np.diff(numbers)
        return bool((numbers == np.round(numbers)).all() and ((steps >= 0).all() or (steps <= 0).all()))
    if item.modality is Modality.NUMBER:
        return False
    short = sum(len(text) <= _LONGEST_ID and not any(map(str.isspace, text)) for text in map(str, cells))
    return short > 0.98 * len(cells)


def _broken_findings(sheet: Sheet, item: Field, known: list[int]) -> list[Finding]:
    if item.modality is Modality.SERIES:
        return _series_findings(sheet, item, known)
    if not item.modality.is_media:
        return []
    cells = sheet.cells(item.name)
    broken: dict[int, str] = {}
    repaired: dict[int, str] = {}
    tried = [known[place] for place in spread(len(known), _MOST_MEDIA).tolist()]
    for place in tried:
        try:
            remark = _tried(sheet.door, item, cells[place])
        except MediaError as error:
            broken[place] = str(error)
            continue
        if remark:
            repaired[place] = remark
    found = []
    for kind, places, words in (
        ("broken_media", broken, "cannot be read, the first because"),
        (REPAIRED, repaired, "hold samples or pixels that are no numbers, the first"),
    ):
        if places:
            text = f"{len(places)} of {len(tried)} files tried in '{item.name}' {words}: {next(iter(places.values()))}"
            found.append(Finding(kind, item.name, text, "warning", sheet.shown(places)))
    return found


def _series_findings(sheet: Sheet, item: Field, known: list[int]) -> list[Finding]:
    """Series that cannot be read, and what their times and values say of them."""
    cells = sheet.cells(item.name)
    told: dict[str, dict[int, str]] = {}
    tried = [known[place] for place in spread(len(known), _MOST_MEDIA).tolist()]
    for place in tried:
        try:
            unread: list[str] = []
            raw = sheet.door.series(cells[place], remarks=unread)
            remarks = [*((UNREAD, text) for text in unread), *ordered_steps(raw)[2]]
        except MediaError as error:
            remarks = [("broken_media", str(error))]
        for kind, text in remarks:
            told.setdefault(kind, {}).setdefault(place, text)
    words = {"broken_media": "cannot be read", **SERIES_WORDS}
    return [
        Finding(
            kind,
            item.name,
            f"{len(places)} of {len(tried)} series tried in '{item.name}' {words[kind]}, the first: "
            + next(iter(places.values())),
            "warning",
            sheet.shown(places),
        )
        for kind, places in told.items()
    ]


def _tried(door: Any, item: Field, cell: Any) -> str:
    """Decode a medium; a sentence on what had to be repaired, "" where nothing had or the door does not tell."""
    remarks: list[str] = []
    told = {"remarks": remarks} if isinstance(door, MediaDoor) else {}
    for part in [cell] if item.modality is Modality.VIDEO else media_parts(cell):
        if item.modality is Modality.IMAGE:
            door.image(part, **told)
        elif item.modality is Modality.VIDEO:
            door.video(part, max_s=_TRIED_S, min_side=_TRIED_SIDE)
        else:
            door.audio(part, _RATE_HZ, **told)
    return "; ".join(remarks)


def _target_findings(table: Any, target: Target) -> list[Finding]:
    """Counted over all rows: a sample would lose the rare classes."""
    cells = table.cells(target.name, None) if target.name in table.columns else []
    found = []
    empty = [row for row, cell in enumerate(cells) if cell is None]
    if empty:
        text = f"'{target.name}' is unknown in {len(empty)} of {len(cells)} rows: they teach nothing about it"
        found.append(Finding("missing", target.name, text, "info", tuple(empty[:20])))
    if target.kind not in LABELLED:
        return found
    keys = [None if cell is None else cell_key(cell) for cell in cells]
    counts = Counter(key for key in keys if key is not None).most_common()
    if len(counts) < 2:
        return found
    (most, largest), (least, smallest) = counts[0], counts[-1]
    if smallest < _FEWEST_OF_CLASS or largest > _UNEVEN * smallest:
        text = f"classes of '{target.name}' are uneven: {largest} rows of '{most}', {smallest} of '{least}'"
        rows = tuple(row for row, key in enumerate(keys) if key == least)[:20]
        severity = "warning" if smallest < _FEWEST_OF_CLASS else "info"
        found.append(Finding("imbalance", target.name, text, severity, rows))
    return found


def _time_findings(sheet: Sheet, schema: Schema) -> list[Finding]:
    """Order, repetition and gaps in time, and numbers that change their unit, within each group."""
    if schema.time is None:
        return []
    times = _times(sheet.cells(schema.time))
    parts = _sequences(sheet, schema, times)
    disorder = [_disorder(places, times, sheet.keys(schema.time)) for places in parts]
    unread = [place for place in _known(sheet.cells(schema.time)) if not np.isfinite(times[place])]
    kinds = (
        ("rows are earlier than the row before them", [place for part in disorder for place in part[0]]),
        ("rows repeat the time of another row", [place for part in disorder for place in part[1]]),
        (f"gaps are more than {_GAP} times the usual step", [place for part in disorder for place in part[2]]),
        ("cells cannot be read as a time", unread),
    )
    found = [
        Finding("time_order", schema.time, f"{len(places)} {what} in '{schema.time}'", "info", sheet.shown(places))
        for what, places in kinds
        if places
    ]
    return found + _jump_findings(sheet, schema, [places[np.argsort(times[places], kind="stable")] for places in parts])


def _disorder(places: np.ndarray, times: np.ndarray, keys: list[str | None]) -> tuple[list[int], list[int], list[int]]:
    """Places that are earlier than the place before them, repeat a time, or come after a gap."""
    late = places[1:][np.diff(times[places]) < 0]
    ordered = places[np.argsort(times[places], kind="stable")]
    steps = np.diff(times[ordered])
    # By the text too: two readings within one second are no repetition
    pairs = zip(steps.tolist(), ordered.tolist(), ordered[1:].tolist(), strict=False)
    again = [two for step, one, two in pairs if step == 0 and keys[one] == keys[two]]
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else np.inf
    return late.tolist(), again, ordered[1:][steps > _GAP * usual].tolist()


def _times(cells: list[Any]) -> np.ndarray:
    return TimeReader.fit(cells).seconds(cells)


def _sequences(sheet: Sheet, schema: Schema, times: np.ndarray) -> list[np.ndarray]:
    """Places with a time, one array a group, in the order of the table."""
    groups: dict[str | None, list[int]] = {}
    names: Iterable[str | None] = sheet.keys(schema.group) if schema.group else [None] * len(times)
    for place, name in enumerate(names):
        if np.isfinite(times[place]):
            groups.setdefault(name, []).append(place)
    return [np.array(places, dtype=np.int64) for places in groups.values()]


def _jump_findings(sheet: Sheet, schema: Schema, sequences: list[np.ndarray]) -> list[Finding]:
    found = []
    for item in schema.fields:
        if item.modality is not Modality.NUMBER:
            continue
        numbers = np.abs(parse_numbers(sheet.cells(item.name)))
        starts = [start for places in sequences for start in _jumps(numbers, places)]
        if starts:
            text = f"numbers in '{item.name}' become more than {JUMP} times larger or smaller from one stretch of time"
            text += " to the next: check whether the unit changed"
            found.append(Finding("unit_jump", item.name, text, "warning", sheet.shown(starts)))
    return found


def _jumps(numbers: np.ndarray, places: np.ndarray) -> list[int]:
    """First places of blocks whose median is far from that of the block before."""
    places = places[np.isfinite(numbers[places])]
    return [int(places[start]) for start in jump_starts(numbers[places])]
