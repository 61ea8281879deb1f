"""Explaining the answers to rows: fields by Shapley values, what lies inside a field by hiding its parts.

Shapes: S rows asked, M inputs, K answers to the row.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.categories import MISSING_LEVEL
from omnifuse.data.decode import Decoded
from omnifuse.errors import InputError, did_you_mean
from omnifuse.explain.answered import Answered, answers_of, measured
from omnifuse.explain.explanation import (
    OCCLUSION,
    SHAPLEY,
    AnswerExplanation,
    Explanation,
    FieldParts,
    Part,
    Share,
)
from omnifuse.explain.occlusion import occlusions
from omnifuse.explain.probe import Arrays, Probe, packed
from omnifuse.explain.shares import Shares, shapley_shares
from omnifuse.readout.answering import Answering
from omnifuse.readout.predictions import NOTHING_READABLE
from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import Input, Modality

# In the place of an answer
NOT_FINITE = "the model's answer to this row is not finite"
# Wider tables are explained by leaving out one column at a time
MOST_COLUMNS = 64


class Explaining(Answering):
    """What answers rows and says what carried the answers; `Model` and `Runtime` do."""

    @abstractmethod
    def probe(self, decoded: Decoded, row: int) -> Probe:
        """One decoded row behind its encoders, to be asked again with fields hidden or changed."""

    def explain(
        self,
        row: Mapping[str, Any],
        target: str | None = None,
        *,
        parts: bool = True,
        media_root: Path | None = None,
        history: Any = None,
        seed: int = 0,
    ) -> Explanation:
        """What carried the answer to one row: each field, and the parts of each field.

        Args:
            row: Column to cell; media cells may be paths, bytes, arrays or PIL images.
            target: Explain this target alone; all of them by default.
            parts: Whether to look inside the fields too, which takes most of the time.
            media_root: As for `predict`.
            history: As for `predict`.
            seed: Of the orders that are drawn where more than 7 fields, or columns, are there.

        Raises:
            InputError: The row is no mapping, has no known column, or the model has no such target.
        """
        if not isinstance(row, Mapping):
            raise InputError(
                f"a {type(row).__name__} is no row", fix='Give {"column": cell}, or call explain_rows with a table'
            )
        return self.explain_rows(
            [dict(row)], target, parts=parts, media_root=media_root, history=history, seed=seed
        )[0]  # fmt: skip

    def explain_rows(
        self,
        source: Any,
        target: str | None = None,
        *,
        rows: Sequence[int] = (0,),
        parts: bool = True,
        media_root: Path | None = None,
        history: Any = None,
        seed: int = 0,
    ) -> list[Explanation]:
        """As `explain` for some rows of a table.

        Args:
            source: As for `predict`.
            target: As for `explain`.
            rows: Numbers of the rows, counted from 0.
            parts: As for `explain`.
            media_root: As for `predict`.
            history: As for `predict`.
            seed: As for `explain`.

        Raises:
            InputError: A row is not in the table, or as for `explain`.
        """
        check_target(self, target)
        table = self.opened(source, media_root=media_root, history=history)
        rows = [_row_number(number) for number in rows]
        for number in rows:
            if not 0 <= number < table.num_rows:
                raise InputError(
                    f"there is no row {number}",
                    where=f"{table.name} has {table.num_rows} rows",
                    fix=f"Rows are counted from 0: give 0 to {table.num_rows - 1}",
                )
        decoded = self.decode(table.select(np.asarray(rows, np.int64)), confined=media_root is not None)
        names = [name for name in self.schema.ids if name in decoded.table.columns]
        ids: Sequence[Any] = decoded.table.cells(names[0]) if names else list(rows)
        warnings = decoded.warnings()
        return [
            replace(
                explain_decoded(self, decoded, place, target, parts=parts, seed=seed),
                row_id=rows[place] if ids[place] is None else ids[place],
                warnings=tuple(warnings[place]),
            )
            for place in range(len(rows))
        ]


def _row_number(number: Any) -> int:
    """A plain whole number, also of one of numpy's.

    Raises:
        InputError: It is none.
    """
    try:
        return index(number)
    except TypeError:
        raise InputError(
            f"{number!r} is no number of a row", fix="Rows are counted from 0: give whole numbers"
        ) from None


def check_target(model: Answering, target: str | None) -> None:
    """Refuse a target that the model does not answer.

    Raises:
        InputError: There is none of that name.
    """
    model.need_target()
    written = [item.name for item in model.schema.written]
    if target in written or not model.readouts:
        raise InputError(
            f"'{target or written[0]}' is written, and explanations are of classes, tags and numbers",
            fix="Leave it out",
        )
    if target is not None and target not in model.readouts:
        raise InputError(f"the model has no target '{target}'", fix=did_you_mean(target, model.readouts))


def explain_decoded(
    model: Explaining, decoded: Decoded, row: int, target: str | None = None, *, parts: bool = True, seed: int = 0
) -> Explanation:
    """As `Explaining.explain` for a row that is decoded already.

    Args:
        model: The model.
        decoded: Rows.
        row: Number of the row in them.
        target: As for `explain`.
        parts: As for `explain`.
        seed: As for `explain`.
    """
    there = np.array([bool(decoded.packs[name].present[row]) for name in model.fields])
    if not there.any():
        return Explanation(row, model_id=model.model_id, error=NOTHING_READABLE)
    probe = model.probe(decoded, row)
    readouts = {name: item for name, item in model.readouts.items() if target in (None, name)}
    whole = probe.subsets(there[None])
    asked = _Asked(probe, readouts, [answer for item in readouts.values() for answer in answers_of(item, whole)])
    with np.errstate(invalid="ignore"):
        found = _field_shares(asked, there, seed)
    if not all(np.isfinite(values).all() for values in (found.values, found.nothing, found.everything)):
        return Explanation(row, model_id=model.model_id, error=NOT_FINITE)
    shown = [name for name, present in zip(model.fields, there, strict=True) if present]
    insides = {}
    for item in model.schema.inputs if parts else ():
        if item.name in shown:
            inside = _field_parts(asked, item, model.preprocessors[item.name], decoded, row, seed=seed)
            if inside:
                insides[item.name] = inside
    answers = [
        AnswerExplanation(
            answer,
            float(found.nothing[number]),
            float(found.everything[number]),
            _shares(found, shown, number),
            {name: inside[number] for name, inside in insides.items()},
        )
        for number, answer in enumerate(asked.answers)
    ]
    return Explanation(row, tuple(answers), model.model_id)


class _Asked:
    """A probe with the K answers whose numbers are wanted of it."""

    def __init__(self, probe: Probe, readouts: Mapping[str, TargetReadout], answers: list[Answered]) -> None:
        self.probe, self.readouts, self.answers = probe, readouts, answers

    def subsets(self, shown: np.ndarray) -> np.ndarray:
        """(S, K) of the row with only some of its fields, (S, M) bool."""
        return self._measured(self.probe.subsets(shown))

    def variants(self, name: str, rows: Sequence[Arrays | None], like: Arrays) -> np.ndarray:
        """(S, K) of the row with other arrays in a field."""
        return self._measured(self.probe.variants(name, packed(rows, like)))

    def _measured(self, raw: RawOutputs) -> np.ndarray:
        return measured(self.answers, self.readouts, raw)


def _field_shares(asked: _Asked, there: np.ndarray, seed: int) -> Shares:
    """The players are the fields that the row has."""
    places = np.flatnonzero(there)

    def value(playing: np.ndarray) -> np.ndarray:
        shown = np.zeros((len(playing), len(there)), bool)
        shown[:, places] = playing
        return asked.subsets(shown)

    return shapley_shares(value, len(places), seed=seed)


def _shares(found: Shares, names: Sequence[str], number: int) -> tuple[Share, ...]:
    effects = found.values[:, number]
    total = float(np.abs(effects).sum())
    errors = [None] * len(names) if found.errors is None else found.errors[:, number].tolist()
    return tuple(
        Share(name, float(effect), abs(float(effect)) / total if total > 0 else 0.0, error)
        for name, effect, error in zip(names, effects, errors, strict=True)
    )


def _field_parts(
    asked: _Asked, item: Input, preprocessor: Any, decoded: Decoded, row: int, *, seed: int
) -> list[FieldParts]:
    """What mattered inside of a field, once for each answer; nothing where the field has no parts."""
    arrays = decoded.packs[item.name].row(row)
    if item.modality is Modality.TABLE:
        return _column_parts(asked, item, preprocessor, decoded, row, seed=seed)
    cell = _cell(decoded, item.columns[0], row) if item.modality is Modality.TEXT else None
    found = occlusions(item.modality, arrays, preprocessor, cell)
    if found is None or not found.parts:
        return []
    effects = _hidden_effects(asked, item.name, [part.arrays for part in found.parts], arrays)
    return [
        FieldParts(
            item.name,
            item.modality.value,
            OCCLUSION,
            tuple(
                Part(part.what, part.where, float(effect))
                for part, effect in zip(found.parts, effects[:, number], strict=True)
            ),
            found.grid,
            found.seen,
        )
        for number in range(len(asked.answers))
    ]


def _hidden_effects(asked: _Asked, name: str, rows: Sequence[Arrays | None], arrays: Arrays) -> np.ndarray:
    """(parts, K): what the answers lose with each of these rows in the place of the field's own.

    A part whose absence changes nothing in what the network gets, as a word behind the longest text, is not asked.
    """
    changed = [place for place, row in enumerate(rows) if row is None or not _same(row, arrays)]
    effects = np.zeros((len(rows), len(asked.answers)))
    if changed:
        # The row itself is asked among them, so that it goes the same way
        found = asked.variants(name, [arrays, *(rows[place] for place in changed)], arrays)
        effects[changed] = found[0] - found[1:]
    return effects


def _same(row: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(row[name], other[name]) for name in other)


def _column_parts(
    asked: _Asked, item: Input, preprocessor: Any, decoded: Decoded, row: int, *, seed: int
) -> list[FieldParts]:
    """The players are the columns of the table that have a cell; all other fields stay."""
    arrays = decoded.packs[item.name].row(row)
    places = np.flatnonzero(~arrays["missing"][0])
    if not len(places):
        return []
    names = [preprocessor.columns[place] for place in places]

    def value(playing: np.ndarray) -> np.ndarray:
        rows = [_with_columns(arrays, places[one]) if one.any() else None for one in playing]
        return asked.variants(item.name, rows, arrays)

    if len(places) <= MOST_COLUMNS:
        method, effects = SHAPLEY, shapley_shares(value, len(places), seed=seed).values
    else:
        found = value(np.concatenate([np.ones((1, len(places)), bool), ~np.eye(len(places), dtype=bool)]))
        method, effects = OCCLUSION, found[0] - found[1:]
    told = [f"{name} = {str(_cell(decoded, name, row))[:60]}" for name in names]
    return [
        FieldParts(
            item.name,
            item.modality.value,
            method,
            tuple(
                Part(what, {"column": name}, float(effect))
                for what, name, effect in zip(told, names, effects[:, number], strict=True)
            ),
        )
        for number in range(len(asked.answers))
    ]


def _with_columns(arrays: Arrays, kept: np.ndarray) -> Arrays:
    """A table row with only some columns (numbers first, then categories); the others are missing."""
    missing = np.ones_like(arrays["missing"])
    missing[:, kept] = arrays["missing"][:, kept]
    num_numbers = arrays["numbers"].shape[1]
    return {
        **arrays,
        "numbers": np.where(missing[:, :num_numbers], np.float32(0), arrays["numbers"]),
        "categories": np.where(missing[:, num_numbers:], np.int32(MISSING_LEVEL), arrays["categories"]),
        "missing": missing,
    }


def _cell(decoded: Decoded, column: str, row: int) -> Any:
    """A cell of the table; only that row is read."""
    table = decoded.table
    return table.cells(column, np.array([row]))[0] if column in table.columns else None
