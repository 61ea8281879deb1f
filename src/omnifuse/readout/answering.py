"""Answers to rows of a table from whatever computes raw outputs: decoding before it, calibration after it, no torch.

The trained model in PyTorch and the runtime that needs none of it answer by the same code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.decode import Decoded, decode
from omnifuse.data.history import check_earlier, with_history
from omnifuse.data.tables import Table, open_table
from omnifuse.errors import InputError, did_you_mean
from omnifuse.readout.predictions import make_predictions
from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import Hypothesis, Prediction, Schema

CHUNK_ROWS = 512


class Answering(ABC):
    """What answers rows.

    Attributes:
        schema: Fields, targets and roles.
        preprocessors: Input name to fitted preprocessor.
        readouts: Target name to calibrated readout.
        manifest: What `model.json` says.
        model_id: First 12 hex digits of the artefact's digest ("" before it is saved).
        folder: Where it lies, if it does.
    """

    schema: Schema
    preprocessors: dict[str, Any]
    readouts: dict[str, TargetReadout]
    manifest: dict[str, Any]
    model_id: str = ""
    folder: Path | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return tuple(item.name for item in self.schema.inputs)

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured when the model was fitted (targets, fusion verdict, cost)."""
        return dict(self.manifest.get("metrics", {}))

    def need_target(self) -> None:
        """Refuse to answer with a model that has learnt no target.

        Raises:
            InputError: It was pretrained.
        """
        if not self.schema.targets:
            raise InputError(
                "the model was pretrained: it has no target to predict, it only embeds",
                fix="Fit one that begins with it: omnifuse fit TABLE --label COLUMN --from DIR",
            )

    def decode(self, table: Table, *, confined: bool = False) -> Decoded:
        """Decode the rows of a table with the model's own preprocessing.

        Args:
            table: Rows to read; absent columns count as missing, others are ignored.
            confined: Refuse media outside the table's folder (`--media-root`, served requests).
        """
        return decode(table, self.schema, self.preprocessors, confined=confined)

    @abstractmethod
    def raw(self, decoded: Decoded, *, vectors: bool = False) -> RawOutputs:
        """Raw outputs of the networks for decoded rows; with `vectors` the representations too."""

    def written(self, decoded: Decoded) -> dict[str, list[tuple[Hypothesis, ...]]]:
        """Target that is written to the texts of each decoded row, best first; nothing where none is."""
        return {}

    def opened(self, source: Any, *, media_root: Path | None = None, history: Any = None) -> Table:
        """The table of a source, with the past of each row where the model reads it.

        Args:
            source: As for `predict`.
            media_root: As for `predict`.
            history: Rows that are earlier than those of `source`, as for `predict`.

        Raises:
            InputError: A history is given that the model does not read, or without the columns of its time and group.
        """
        table = source if isinstance(source, Table) else open_table(source, media_root=media_root)
        if history is None:
            return with_history(table, self.schema.history)
        if self.schema.history is None:
            raise InputError("the model reads no history", fix="Fit it with --time COLUMN, or leave the history out")
        earlier = open_table(history)
        check_earlier(earlier, self.schema.history)
        return with_history(table, self.schema.history, earlier)

    def stream(
        self, source: Any, *, proba: bool = False, media_root: Path | None = None, history: Any = None
    ) -> Iterator[list[Prediction]]:
        """Predict a table of any size in chunks, in the table's order, with bounded memory.

        Args:
            source: Path, frame, or list of dicts; media cells may be paths, bytes, arrays or PIL images.
            proba: Also give the probability of each class.
            media_root: Resolve media paths against this folder and refuse whatever lies outside it.
            history: As for `predict`. Of a model that reads history, the numbers of the whole table are held (8 bytes a
                cell), and where it reads earlier texts the last 1,000 characters of each; all else is read chunk by
                chunk.

        Yields:
            The predictions of up to 512 rows.
        """
        self.need_target()
        table = self.opened(source, media_root=media_root, history=history)
        start = 0
        for chunk in table.batches(CHUNK_ROWS):
            yield self._predict_chunk(chunk, start, proba=proba, confined=media_root is not None)
            start += chunk.num_rows

    def _predict_chunk(self, chunk: Table, start: int, *, proba: bool, confined: bool) -> list[Prediction]:
        decoded = self.decode(chunk, confined=confined)
        ids = [name for name in self.schema.ids if name in chunk.columns]
        columns = {name: chunk.cells(name) for name in ids}
        row_ids: list[str | int] = [
            start + number if not ids else columns[ids[0]][number] for number in range(chunk.num_rows)
        ]
        return make_predictions(
            self.raw(decoded),
            self.readouts,
            row_ids=row_ids,
            warnings=decoded.warnings(),
            model_id=self.model_id,
            proba=proba,
            ids=[{name: columns[name][number] for name in ids} for number in range(chunk.num_rows)],
            written=self.written(decoded),
        )

    def predict(
        self, source: Any, *, proba: bool = False, media_root: Path | None = None, history: Any = None
    ) -> list[Prediction]:
        """Predict every row.

        Args:
            source: Path, polars or pandas frame, or list of dicts.
            proba: Also give the probability of each class.
            media_root: Resolve media paths against this folder and refuse whatever lies outside it.
            history: A table of earlier rows, of the same groups, which are not answered. A model that was fitted with
                `time` reads them, and the earlier rows of `source` itself, as the past of each row.

        Returns:
            One `Prediction` a row, in order. A bad cell is missing and named in `warnings`; a row with nothing
            readable has `error` set.
        """
        return [
            answer
            for chunk in self.stream(source, proba=proba, media_root=media_root, history=history)
            for answer in chunk
        ]

    def predict_proba(self, source: Any, *, target: str | None = None) -> np.ndarray:
        """Calibrated probabilities (R, C) of one target's classes, in the order of `schema.targets[..].classes`."""
        name = self._chosen_target(target)
        table = self.opened(source)
        chunks = [self.readouts[name].scores(self.raw(self.decode(chunk))) for chunk in table.batches(CHUNK_ROWS)]
        return np.concatenate(chunks)

    def choose(self, probabilities: np.ndarray, *, target: str | None = None) -> np.ndarray:
        """Numbers (R,) of the classes that `predict` answers where `predict_proba` gives these probabilities (R, C).

        Mostly the most probable one; where the classes are uneven a rare one may count for more.
        """
        return self.readouts[self._chosen_target(target)].choose(probabilities)

    def _chosen_target(self, target: str | None) -> str:
        """The target that is meant, by default the first that is answered by classes or numbers.

        Raises:
            InputError: There is none, or it is written.
        """
        self.need_target()
        names = [item.name for item in self.schema.chosen]
        name = target or next(iter(names), self.schema.targets[0].name)
        if name in [item.name for item in self.schema.written]:
            raise InputError(f"'{name}' is written and has no classes", fix="Ask with predict or generate")
        if name not in self.readouts:
            raise InputError(f"the model has no target '{name}'", fix=did_you_mean(name, self.readouts))
        return name

    def embed(self, source: Any, *, media_root: Path | None = None) -> dict[str, np.ndarray]:
        """Vectors of unit length in the unified space.

        Args:
            source: As for `predict`.
            media_root: As for `predict`.

        Returns:
            `embedding` (R, E * D), fused; and `embedding_<field>` (R, E * D) of each field, NaN where absent.
        """
        table = self.opened(source, media_root=media_root)
        parts: dict[str, list[np.ndarray]] = {}
        for chunk in table.batches(CHUNK_ROWS):
            raw = self.raw(self.decode(chunk, confined=media_root is not None), vectors=True)
            assert raw.pooled is not None
            parts.setdefault("embedding", []).append(_unit(raw.pooled))
            for name, pooled in raw.field_pooled.items():
                parts.setdefault(f"embedding_{name}", []).append(_unit(pooled))
        return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; NaN rows stay NaN."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
