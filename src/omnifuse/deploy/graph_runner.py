"""Runs the graphs of an exported model: only the encoders of fields that some row has, then the fusion.

Rows of one length go through an encoder together, so nothing is padded and a row is answered alone as it is among
others.

Shapes: E members, B rows, P rows that have a field, T tokens, D width, S fixed features, C outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.data.pack import Pack, PackedRows
from omnifuse.deploy.graph_folder import FieldSignature, GraphSignature
from omnifuse.errors import MissingDependencyError
from omnifuse.readout.raw import RawOutputs, concatenate
from omnifuse.readout.target_readout import FUSED

# Rows that go through the graphs at once
ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class EncodedField:
    """One field of B rows behind its encoder: tokens (E, B, T, D), mask (B, T), features (E, B, S) or None."""

    tokens: np.ndarray
    mask: np.ndarray
    features: np.ndarray | None

    @property
    def present(self) -> np.ndarray:
        """(B,) bool."""
        return np.asarray(self.mask.any(axis=1))


class GraphRunner:
    """The graphs of a model, loaded.

    Args:
        signature: What they take and give.
        encoders: Field to its graph: a path, the bytes of one, or a session that is open.
        fusion: The last graph.
        threads: Of each graph; None leaves it to ONNX Runtime.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
    """

    def __init__(
        self, signature: GraphSignature, encoders: Mapping[str, Any], fusion: Any, *, threads: int | None = None
    ) -> None:
        self.signature = signature
        self.sessions = {name: open_graph(graph, threads) for name, graph in encoders.items()}
        self.fusion = open_graph(fusion, threads)
        self._absent: dict[str, EncodedField] = {}

    def raw(
        self,
        packs: Mapping[str, Pack],
        rows: np.ndarray,
        *,
        subset: Collection[str] | None = None,
        vectors: bool = False,
    ) -> RawOutputs:
        """Raw outputs of rows.

        Args:
            packs: Input to decoded arrays.
            rows: Rows to answer.
            subset: Fields that stay; the others are hidden. None for all.
            vectors: Whether to give the representations too.
        """
        parts = []
        for start in range(0, max(len(rows), 1), ROWS_AT_ONCE):
            chosen = rows[start : start + ROWS_AT_ONCE]
            encoded = {}
            for name in self.signature.fields:
                packed = packs[name].take(chosen)
                if subset is not None and name not in subset:
                    packed = PackedRows(packed.values, packed.lengths[:0], np.zeros(len(chosen), bool))
                encoded[name] = self.encode(name, packed)
            parts.append(self.fuse(encoded, vectors=vectors))
        return concatenate(parts)

    def encode(self, name: str, packed: PackedRows) -> EncodedField:
        """Rows of one field through its encoder.

        Args:
            name: The field.
            packed: Its rows.
        """
        signature = self.signature.fields[name]
        if not len(packed.lengths):
            return self._without(name, len(packed.present))
        run = self.sessions[name].run
        if signature.steps:
            groups = _by_length(packed.lengths)
            outputs = [(rows, run(None, _feeds(signature, packed, rows))) for rows in groups]
        else:
            # A row may have several media: each is a row to the encoder
            media = np.arange(int(packed.lengths.sum()))
            single = PackedRows(packed.values, np.ones(len(media), np.int64), np.ones(len(media), bool))
            outputs = _per_row(run(None, _feeds(signature, single, media)), packed.lengths)
        return _joined(outputs, signature, self.signature.num_members, packed.present)

    def _without(self, name: str, count: int) -> EncodedField:
        """A field that none of so many rows has; for one row, the usual question to a small machine, made once."""
        signature, members = self.signature.fields[name], self.signature.num_members
        if count != 1:
            return no_field(signature, members, count)
        if name not in self._absent:
            made = no_field(signature, members, count)
            for array in (made.tokens, made.mask, made.features):
                if array is not None:
                    array.setflags(write=False)
            self._absent[name] = made
        return self._absent[name]

    def fuse(self, encoded: Mapping[str, EncodedField], *, vectors: bool = False) -> RawOutputs:
        """Encoded fields to raw outputs.

        Args:
            encoded: Every field, see `encode`.
            vectors: Whether to give the representations too.
        """
        feeds: dict[str, np.ndarray] = {}
        for number, name in enumerate(self.signature.fields):
            item = encoded[name]
            feeds |= {f"tokens_{number}": item.tokens, f"mask_{number}": item.mask}
            if item.features is not None:
                feeds[f"features_{number}"] = item.features
        answers = self.fusion.run(None, {name: feeds[name] for name in self.signature.inputs})
        return _raw(self.signature, answers, encoded, vectors=vectors)


def open_graph(graph: Any, threads: int | None = None) -> Any:
    """A graph in ONNX Runtime, from a path or from bytes; one that is open stays as it is.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
    """
    if hasattr(graph, "run"):
        return graph
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError("onnxruntime is not installed", fix="Run: pip install 'omnifuse[edge]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin while they wait take a quarter more of the processor for one row, and gain nothing for it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
    )


def _by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Numbers of the rows of each length."""
    return [np.flatnonzero(lengths == length) for length in np.unique(lengths)]


def _feeds(signature: FieldSignature, packed: PackedRows, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays (P, L, ...) of rows of one length L."""
    length = int(packed.lengths[rows[0]])
    starts = np.cumsum(packed.lengths) - packed.lengths
    index = (starts[rows][:, None] + np.arange(length)).ravel()
    return {
        name: np.ascontiguousarray(
            packed.values[name][index].reshape(len(rows), length, *packed.values[name].shape[1:])
        )
        for name, _ in signature.arrays
    }


def _per_row(outputs: Sequence[np.ndarray], lengths: np.ndarray) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Outputs of all media in order to those of rows with equally many: tokens one behind the other, features' mean."""
    if (lengths == 1).all():
        return [(np.arange(len(lengths)), list(outputs))]
    tokens = outputs[0]
    members, _, num_tokens, width = tokens.shape
    starts = np.cumsum(lengths) - lengths
    found = []
    for rows in _by_length(lengths):
        count = int(lengths[rows[0]])
        index = starts[rows][:, None] + np.arange(count)
        parts = [tokens[:, index].reshape(members, len(rows), count * num_tokens, width)]
        parts += [features[:, index].mean(axis=2) for features in outputs[1:]]
        found.append((rows, parts))
    return found


def _joined(
    outputs: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]],
    signature: FieldSignature,
    members: int,
    present: np.ndarray,
) -> EncodedField:
    """Groups of rows back in one order, padded to the most tokens; rows without the field stay empty."""
    if len(outputs) == 1 and present.all():  # nothing to pad and nothing to leave empty: no copy
        tokens = outputs[0][1][0]
        mask = np.ones((len(present), tokens.shape[2]), bool)
        return EncodedField(tokens, mask, outputs[0][1][1] if signature.features else None)
    places = np.flatnonzero(present)
    longest = max(parts[0].shape[2] for _, parts in outputs)
    tokens = np.zeros((members, len(present), longest, signature.width), np.float32)
    mask = np.zeros((len(present), longest), bool)
    features = np.zeros((members, len(present), signature.features), np.float32) if signature.features else None
    for rows, parts in outputs:
        num_tokens = parts[0].shape[2]
        tokens[:, places[rows], :num_tokens] = parts[0]
        mask[places[rows], :num_tokens] = True
        if features is not None:
            features[:, places[rows]] = parts[1]
    return EncodedField(tokens, mask, features)


def no_field(signature: FieldSignature, members: int, count: int) -> EncodedField:
    """A field that no row has: one empty place, or as many as its heads ask for."""
    features = np.zeros((members, count, signature.features), np.float32) if signature.features else None
    places = max(signature.places, 1)
    tokens = np.zeros((members, count, places, signature.width), np.float32)
    return EncodedField(tokens, np.zeros((count, places), bool), features)


def _raw(
    signature: GraphSignature,
    answers: Sequence[np.ndarray],
    encoded: Mapping[str, EncodedField],
    *,
    vectors: bool,
) -> RawOutputs:
    """Outputs of the fusion under their names; NaN where a row lacks the field of a head."""
    present = {name: item.present for name, item in encoded.items()}
    fused: dict[str, np.ndarray] = {}
    fields: dict[str, dict[str, np.ndarray]] = {}
    spreads: dict[str, dict[str, np.ndarray]] = {}
    for (kind, target, head), values in zip(signature.outputs[:-1], answers, strict=False):
        if kind == "spread":
            spreads.setdefault(target, {})[head] = values
        elif head == FUSED:
            fused[target] = values
            fields.setdefault(target, {})
        else:
            own = values.copy()
            if head in present:
                own[:, ~present[head]] = np.nan
            fields.setdefault(target, {})[head] = own
    if not vectors:
        return RawOutputs(fused, fields, present, spreads=spreads)
    means = {name: _field_means(item) for name, item in encoded.items()}
    return RawOutputs(fused, fields, present, answers[-1], means, spreads)


def _field_means(item: EncodedField) -> np.ndarray:
    """(B, E x D) mean of the real tokens, NaN where a row lacks the field."""
    counts = item.mask.sum(axis=1)
    sums = (item.tokens * item.mask[None, :, :, None]).sum(axis=2)
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], np.nan)
    return np.ascontiguousarray(means.transpose(1, 0, 2).reshape(len(counts), -1), np.float32)
