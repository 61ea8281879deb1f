"""A trained `Model`, or the `Runtime` of an exported one, as the server asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import polars as pl

from omnifuse.data.date import DatePreprocessor
from omnifuse.data.decode import Decoded, decode
from omnifuse.data.pack import Pack
from omnifuse.data.tables import Table, open_table
from omnifuse.explain import Explaining, explain_decoded
from omnifuse.readout.predictions import make_predictions
from omnifuse.schema import Prediction, Schema
from omnifuse.serve.answerer import Cells
from omnifuse.serve.columns import columns_of
from omnifuse.serve.example import example_row

Item = TypeVar("Item")


@dataclass(frozen=True)
class DecodedRow:
    """One row of a decoded request.

    Attributes:
        decoded: The request.
        row: Its number in it.
        row_id: Its id, else that number.
        warnings: What could not be read of it.
    """

    decoded: Decoded
    row: int
    row_id: str | int
    warnings: tuple[str, ...]


class ModelAnswerer:
    """Answers with a `Model` or a `Runtime`; see `Answerer`."""

    def __init__(self, model: Explaining) -> None:
        self.model = model
        self._columns = columns_of(model.schema)

    @property
    def schema(self) -> Schema:
        """Of the model."""
        return self.model.schema

    @property
    def model_id(self) -> str:
        """Of the model."""
        return self.model.model_id

    def example(self) -> dict[str, Any]:
        """A row with usual numbers and dates, and known categories."""
        row = example_row(self.schema)
        for name, preprocessor in self.model.preprocessors.items():
            if isinstance(preprocessor, DatePreprocessor) and name in row:
                usual = datetime.fromtimestamp(preprocessor.median, UTC)
                row[name] = usual.strftime("%Y-%m-%d %H:%M:%S" if preprocessor.has_time else "%Y-%m-%d")
            for column in getattr(preprocessor, "numbers", ()):
                if column.name in row:
                    row[column.name] = float(f"{column.median:.6g}")
        return row | {name: levels[0] for name, levels in self.values().items() if name in row}

    def values(self) -> dict[str, tuple[str, ...]]:
        """Column of a category to its levels."""
        return {
            column.name: column.levels
            for preprocessor in self.model.preprocessors.values()
            for column in getattr(preprocessor, "categories", ())
            if getattr(column, "levels", ())
        }

    def decode(self, rows: Sequence[Cells], history: Sequence[Cells] | None = None) -> list[DecodedRow]:
        """See `Answerer`. No file is opened: the door of media has no folder."""
        table = self.model.opened(self._table(rows), history=None if history is None else self._table(history))
        # In this thread: the server has a pool of its own
        decoded = decode(table, self.schema, self.model.preprocessors, confined=True, num_workers=0)
        ids = next((table.cells(name) for name in self.schema.ids if name in table.columns), [None] * len(rows))
        return [
            DecodedRow(decoded, number, number if ids[number] is None else str(ids[number]), tuple(words))
            for number, words in enumerate(decoded.warnings())
        ]

    def _table(self, rows: Sequence[Cells]) -> Table:
        """All known columns, so that a field that no row has is missing and no fault."""
        return replace(open_table([{name: row.get(name) for name in self._columns.known} for row in rows]), root=None)

    def answer(self, decoded: Sequence[DecodedRow]) -> list[Prediction]:
        """See `Answerer`."""
        order, joined = self._join(decoded)
        chosen = [decoded[place] for place in order]
        answers = make_predictions(
            self.model.raw(joined),
            self.model.readouts,
            row_ids=[item.row_id for item in chosen],
            warnings=[item.warnings for item in chosen],
            model_id=self.model_id,
            proba=True,
            written=self.model.written(joined),
        )
        return _in_order(answers, order)

    def embed(self, decoded: Sequence[DecodedRow]) -> list[dict[str, list[float] | None]]:
        """See `Answerer`."""
        order, joined = self._join(decoded)
        raw = self.model.raw(joined, vectors=True)
        assert raw.pooled is not None
        named = {"embedding": raw.pooled, **{f"embedding_{name}": part for name, part in raw.field_pooled.items()}}
        units = {name: part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for name, part in
                 named.items()}  # fmt: skip
        rows = [{name: _listed(part[place]) for name, part in units.items()} for place in range(len(order))]
        return _in_order(rows, order)

    def explain(self, decoded: Sequence[DecodedRow], *, parts: bool) -> list[dict[str, Any]]:
        """See `Answerer`."""
        found = [explain_decoded(self.model, item.decoded, item.row, parts=parts) for item in decoded]
        return [
            replace(one, row_id=item.row_id, warnings=item.warnings).to_json()
            for one, item in zip(found, decoded, strict=True)
        ]

    def _join(self, decoded: Sequence[DecodedRow]) -> tuple[list[int], Decoded]:
        """Places of the rows, request by request, and the rows together in that order."""
        requests: dict[int, list[int]] = {}
        for place, item in enumerate(decoded):
            requests.setdefault(id(item.decoded), []).append(place)
        order = [place for places in requests.values() for place in places]
        parts = [
            (decoded[places[0]].decoded, np.array([decoded[place].row for place in places], np.int64))
            for places in requests.values()
        ]
        packs = {name: _joined([found.packs[name] for found, _ in parts], [rows for _, rows in parts])
                 for name in parts[0][0].packs}  # fmt: skip
        table = Table("<requests>", None, (), len(order), pl.DataFrame())
        return order, Decoded(table, packs, [], ())


def _joined(packs: Sequence[Pack], rows: Sequence[np.ndarray]) -> Pack:
    """Some rows of each pack of one input, end to end."""
    taken = [pack.take(chosen) for pack, chosen in zip(packs, rows, strict=True)]
    present = np.concatenate([item.present for item in taken])
    lengths = np.zeros(len(present), np.int64)
    lengths[present] = np.concatenate([item.lengths for item in taken])
    # An input that no row of a request has comes with arrays of no rows, perhaps of another width
    filled = [item for item in taken if len(item.lengths)] or taken[:1]
    arrays = {name: np.concatenate([item.values[name] for item in filled]) for name in filled[0].values}
    return Pack(arrays, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), present)


def _in_order(found: Sequence[Item], order: Sequence[int]) -> list[Item]:
    """What stands at place i goes to place `order[i]`."""
    result = dict(zip(order, found, strict=True))
    return [result[place] for place in range(len(order))]


def _listed(vector: np.ndarray) -> list[float] | None:
    return [float(f"{value:.7g}") for value in vector.tolist()] if np.isfinite(vector).all() else None
