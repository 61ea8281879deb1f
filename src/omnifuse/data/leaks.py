"""Columns that give the label away: by their value, by the text of the label in them, or by being there at all."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from omnifuse.data.duplicates import LABELLED, ROWS_SHOWN, cell_key, spread
from omnifuse.data.lookup import bins_of, codes_of, left_out, looked_up, nearest_right
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.spelling import spelt_share
from omnifuse.schema import Finding, Modality, TaskKind

_FEWEST_ROWS = 30
_FEWEST_RARE = 5
_ACCURACY = 0.985
_GAIN = 0.1
_CORRELATION = 0.999
_LONGEST_CELL = 5_000
_LONGEST_PATH = 400
_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_WRITTEN = (TaskKind.TRANSCRIPTION, TaskKind.CAPTIONING)
_NOT_VALUES = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.SERIES)


@dataclass(frozen=True)
class _Labels:
    """Labels of the rows that have one: their texts, codes, which unit (group, or row) and half a row is in."""

    places: np.ndarray
    texts: tuple[str, ...]
    codes: np.ndarray
    units: np.ndarray
    half: np.ndarray

    def only(self, keep: np.ndarray) -> _Labels:
        return _Labels(self.places[keep], self.texts, self.codes[keep], self.units[keep], self.half[keep])

    @property
    def majority(self) -> float:
        return float(np.bincount(self.codes).max() / len(self.codes)) if len(self.codes) else 1.0


def find_leak_columns(
    table: Any,
    columns: Sequence[str],
    target_cells: Sequence[Any],
    *,
    target: str = "label",
    kind: TaskKind = TaskKind.CLASSIFICATION,
    rows: np.ndarray | None = None,
    modalities: Mapping[str, Modality] | None = None,
    unused: Collection[str] = (),
    groups: Sequence[Any] | None = None,
    sample: int = 20_000,
    seed: int = 0,
) -> list[Finding]:
    """Columns, of any role, that give the target away; at most one finding, the strongest, a column.

    Args:
        table: Anything with ``num_rows`` and ``cells(column, rows)``.
        columns: Names of the columns to look at.
        target_cells: Target of each of `rows` (of every row of the table where `rows` is None); None = unknown.
        target: Name of the target, for the sentences.
        kind: Classification, ordinal, regression, transcription, captioning; other kinds give no findings.
        rows: Rows to look at; None = at most `sample` evenly spread ones.
        modalities: What the columns hold, where known: of media columns the path alone is looked at.
        unused: Columns that no model reads: reported as info.
        groups: Group of each of `target_cells`; a group is never divided between learning and checking.
        sample: At most this many rows are read.
        seed: Decides the two halves.

    Returns:
        Findings of kind "leak".

    Example:
        >>> from omnifuse.data.tables import open_table
        >>> table = open_table([{"code": row % 2, "label": "ab"[row % 2]} for row in range(40)])
        >>> [(leak.field, leak.severity) for leak in find_leak_columns(table, ["code"], table.cells("label"))]
        [('code', 'error')]
    """
    if kind not in (TaskKind.REGRESSION, *LABELLED, *_WRITTEN):
        return []
    if rows is None:
        rows = spread(table.num_rows, sample)
        target_cells = [target_cells[row] for row in rows.tolist()]
        groups = None if groups is None else [groups[row] for row in rows.tolist()]
    labels = _labels(target_cells, groups, seed, written=kind in _WRITTEN)
    found = []
    for column in columns:
        cells = [] if column == target else table.cells(column, rows)
        if not cells:
            continue
        modality = (modalities or {}).get(column)
        if kind is TaskKind.REGRESSION:
            leak = _copy_leak(column, cells, target, parse_numbers(target_cells))
        elif kind in _WRITTEN:
            leak = _written_leak(column, cells, target, labels, bool(modality and modality.is_media))
        else:
            leak = _label_leak(column, cells, target, labels, modality, column in unused)
        if leak is not None:
            known = [int(row) for row, cell in zip(rows, cells, strict=True) if cell is not None]
            found.append(_finished(leak, target, tuple(known[:ROWS_SHOWN]), column in unused))
    return found


def chi_square_p(counts: np.ndarray) -> float:
    """Chance of a table of counts at least this uneven if rows and columns were unrelated (Wilson-Hilferty)."""
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0].astype(np.float64)
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if freedom < 1:
        return 1.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    spread_of = 2.0 / (9.0 * freedom)
    z = ((statistic / freedom) ** (1.0 / 3.0) - (1.0 - spread_of)) / math.sqrt(spread_of)
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _finished(leak: Finding, target: str, rows: tuple[int, ...], unused: bool) -> Finding:
    if not unused:
        return replace(leak, rows=rows)
    text = f"'{leak.field}' is not used; it gives '{target}' away: {leak.text.rpartition(': ')[0]}"
    return replace(leak, text=text, severity="info", rows=rows)


def _labels(cells: Sequence[Any], groups: Sequence[Any] | None, seed: int, *, written: bool) -> _Labels:
    places = np.array([place for place, cell in enumerate(cells) if cell is not None], dtype=np.int64)
    # A text to be written is needed as it is, not as a key
    codes, texts = codes_of([(str if written else cell_key)(cells[place]) for place in places.tolist()])
    units = np.arange(len(places))
    if groups is not None:
        units, _ = codes_of(["" if groups[place] is None else cell_key(groups[place]) for place in places.tolist()])
    # Shuffled, because the labels of a table often alternate: by plain parity each half would hold one label alone
    shuffled = np.random.default_rng(seed).permutation(int(units.max()) + 1 if len(units) else 0)
    return _Labels(places, tuple(texts), codes, units, shuffled[units] % 2)


def _label_leak(
    column: str, cells: list[Any], target: str, labels: _Labels, modality: Modality | None, unused: bool
) -> Finding | None:
    here = np.array([cells[place] is not None for place in labels.places.tolist()], dtype=bool)
    known = labels.only(here)
    found = None
    if len(known.codes) >= _FEWEST_ROWS and known.majority < 1:
        if modality not in _NOT_VALUES:
            found = _value_leak(column, cells, target, known)
        found = found or _text_leak(column, cells, target, known, bool(modality and modality.is_media))
        if found is None and modality not in _NOT_VALUES:
            found = _coarse_leak(column, cells, target, known)
    # Whether a column that nobody reads is filled in or not does no harm
    return found if found or unused else _presence_leak(column, target, labels, here)


def _value_leak(column: str, cells: list[Any], target: str, labels: _Labels) -> Finding | None:
    known = [cells[place] for place in labels.places.tolist()]
    codes, values = codes_of([cell_key(cell) for cell in known])
    rules = []
    if len(values) <= len(known) / 2:
        # Where classes are small, many values stand in one group alone: that says nothing about the others
        right, seen = left_out(codes, labels.codes, labels.units)
        rules.append((right[seen], labels.only(seen)))
    numbers = parse_numbers(known)
    if np.isfinite(numbers).all():
        rules.append((looked_up(bins_of(numbers), labels.codes, labels.half), labels))
        rules.append((nearest_right(numbers, labels.codes, labels.half), labels))
    telling = [
        float(right.mean()) for right, of in rules if 5 * len(right) >= 3 * len(known) and _is_telling(right, of)
    ]
    if not telling:
        return None
    text = (
        f"value of '{column}' alone predicts '{target}' for {max(telling):.1%} of unseen rows: if it would not be "
        f"known at prediction, leave it out with --drop {shlex.quote(column)}"
    )
    return Finding("leak", column, text, "error")


def _is_telling(right: np.ndarray, labels: _Labels) -> bool:
    """Nearly always right, and not because one label is nearly everywhere."""
    share = float(right.mean())
    usual = int(np.bincount(labels.codes).argmax())
    rare = int(right[labels.codes != usual].sum())
    return share > _ACCURACY and share - labels.majority >= _GAIN and rare >= _FEWEST_RARE


def _coarse_leak(column: str, cells: list[Any], target: str, labels: _Labels) -> Finding | None:
    """The other way round: a column that follows from the label, such as its coarser group."""
    codes, values = codes_of([cell_key(cells[place]) for place in labels.places.tolist()])
    if not 2 <= len(values) < len(set(labels.codes.tolist())) <= len(codes) / 2:
        return None
    values_as_labels = replace(labels, texts=tuple(values), codes=codes)
    if not _is_telling(looked_up(labels.codes, codes, labels.half), values_as_labels):
        return None
    text = (
        f"'{column}' follows from '{target}', as a coarser label would: if it was derived from it, leave it out with "
        f"--drop {shlex.quote(column)}"
    )
    return Finding("leak", column, text, "warning")


def _text_leak(column: str, cells: list[Any], target: str, labels: _Labels, is_media: bool) -> Finding | None:
    """Cells that hold the text of their own label and no other."""
    wanted = {text: _words(text) for text in labels.texts}
    longest = min(max((len(words) for words in wanted.values()), default=1), 8)
    by_words = {" ".join(words): code for code, words in enumerate(wanted.values()) if words}
    total = np.bincount(labels.codes, minlength=len(labels.texts))
    own, other = np.zeros_like(total), np.zeros_like(total)
    for place, code in zip(labels.places.tolist(), labels.codes.tolist(), strict=True):
        for named in _named_labels(cells[place], by_words, labels.texts, longest, is_media):
            (own if named == code else other)[named] += 1
    rest = np.maximum(total.sum() - total, 1)
    enough = (total >= _FEWEST_RARE) & (own > 0.9 * total) & (other < 0.1 * rest)
    if not enough.any():
        return None
    named = int(total[enough].sum())
    is_sure = own[enough].sum() > _ACCURACY * named and other[enough].sum() < (1 - _ACCURACY) * len(labels.codes)
    return _text_finding(column, target, labels.texts[int(np.flatnonzero(enough)[0])], is_media, bool(is_sure))


def _text_finding(column: str, target: str, example: str, is_media: bool, is_sure: bool) -> Finding:
    if is_media:
        text = f"file or folder names in '{column}' hold the text of '{target}', such as '{example}': no model reads "
        return Finding("leak", column, text + "the name, but do not let a person see it while labelling", "info")
    text = (
        f"cells of '{column}' hold the text of '{target}', such as '{example}': if that would not be there at "
        f"prediction, mask it or leave the column out with --drop {shlex.quote(column)}"
    )
    return Finding("leak", column, text, "error" if is_sure else "warning")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _named_labels(
    cell: Any, by_words: dict[str, int], texts: tuple[str, ...], longest: int, is_media: bool
) -> set[int]:
    """Codes of the labels whose text is in the cell as whole words."""
    if is_media and (not isinstance(cell, str) or cell.startswith("data:")):
        return set()
    text = (cell if isinstance(cell, str) else cell_key(cell))[: _LONGEST_PATH if is_media else _LONGEST_CELL]
    words = _words(text)
    parts = {" ".join(words[i : i + size]) for size in range(1, longest + 1) for i in range(len(words) - size + 1)}
    # A label of one character is in many texts by chance: it must be the whole cell or a whole part of the path
    whole = {part.strip().lower() for part in re.split(r"[/\\]", text)}
    named = {by_words[part] for part in parts if part in by_words and (len(part) > 1 or part in whole)}
    if _UNSPACED.search(text):
        named |= {
            code for code, label in enumerate(texts) if len(label) > 1 and _UNSPACED.search(label) and label in text
        }
    return named


def _presence_leak(column: str, target: str, labels: _Labels, here: np.ndarray) -> Finding | None:
    if len(here) < _FEWEST_ROWS or not 0.02 <= 1.0 - here.mean() <= 0.98:
        return None
    counts = np.stack([np.bincount(labels.codes[here == side], minlength=len(labels.texts)) for side in (False, True)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    gain = counts.max(axis=1).sum() / counts.sum() - labels.majority
    if chi_square_p(counts) >= 1e-6 or (gain <= 0.05 and np.abs(shares[0] - shares[1]).max() <= 0.3):
        return None
    worst = int(np.abs(shares[0] - shares[1]).argmax())
    text = (
        f"presence of '{column}' tells about '{target}' ('{labels.texts[worst]}' is {shares[1][worst]:.0%} of the rows "
        f"with it and {shares[0][worst]:.0%} of those without): if it is filled in because of the label, leave it out "
        f"with --drop {shlex.quote(column)}"
    )
    return Finding("leak", column, text, "warning")


def _copy_leak(column: str, cells: list[Any], target: str, answers: np.ndarray) -> Finding | None:
    """A number that is the regression target in other units."""
    pairs = np.stack([parse_numbers(cells), answers], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if len(pairs) < _FEWEST_ROWS:
        return None
    centred = pairs - pairs.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    if not (scale > 0).all():
        return None
    correlation = float((centred[:, 0] * centred[:, 1]).sum() / scale.prod())
    if abs(correlation) <= _CORRELATION:
        return None
    text = (
        f"value of '{column}' is '{target}' in other units (correlation {correlation:.4f}): if it would not be known "
        f"at prediction, leave it out with --drop {shlex.quote(column)}"
    )
    return Finding("leak", column, text, "error")


def _written_leak(column: str, cells: list[Any], target: str, labels: _Labels, is_media: bool) -> Finding | None:
    """A column that spells the text to be written, word by word: a copy, or a code such as "94" for "nine four"."""
    known = [place for place in labels.places.tolist() if isinstance(cells[place], str | int)]
    if len(known) < max(_FEWEST_ROWS, 0.5 * len(labels.places)):
        return None
    texts = [PurePath(str(cells[place])).stem if is_media else str(cells[place]) for place in known]
    here = labels.only(np.isin(labels.places, known))
    share = spelt_share(texts, [here.texts[code] for code in here.codes.tolist()], here.half)
    if share <= _ACCURACY:
        return None
    if is_media:
        text = f"file names in '{column}' spell '{target}': no model reads the name, but do not let a person see it"
        return Finding("leak", column, text + " while writing", "info")
    text = (
        f"'{column}' spells '{target}' word by word for {share:.1%} of the words: if it would not be known at "
        f"prediction, leave it out with --drop {shlex.quote(column)}"
    )
    return Finding("leak", column, text, "error")
