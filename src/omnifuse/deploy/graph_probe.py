"""One row behind the graphs' encoders, asked again with fields hidden or one field changed.

Shapes: E members, S rows asked, T tokens, D width, M inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from omnifuse.data.pack import Pack
from omnifuse.deploy.graph_runner import ROWS_AT_ONCE, EncodedField, GraphRunner
from omnifuse.readout.raw import RawOutputs, concatenate


class GraphProbe:
    """See `omnifuse.explain.Probe`.

    Args:
        graphs: The loaded graphs.
        fields: The model's inputs in order.
        packs: Input to decoded arrays.
        row: Number of the row in them.
    """

    def __init__(self, graphs: GraphRunner, fields: Sequence[str], packs: Mapping[str, Pack], row: int) -> None:
        self._graphs, self._fields = graphs, tuple(fields)
        chosen = np.array([row])
        self._encoded = {name: graphs.encode(name, packs[name].take(chosen)) for name in graphs.signature.fields}

    def subsets(self, shown: np.ndarray) -> RawOutputs:
        """S rows of raw outputs for the fields that stay, (S, M) bool."""
        place = {name: number for number, name in enumerate(self._fields)}
        return self._fused(
            len(shown), lambda rows: {name: _repeated(item, shown[rows, place[name]])
                                      for name, item in self._encoded.items()}
        )  # fmt: skip

    def variants(self, name: str, pack: Pack) -> RawOutputs:
        """S rows of raw outputs with other arrays in one field."""

        def encoded(rows: np.ndarray) -> dict[str, EncodedField]:
            every = np.ones(len(rows), bool)
            others = {other: _repeated(item, every) for other, item in self._encoded.items() if other != name}
            return {**others, name: self._graphs.encode(name, pack.take(rows))}

        return self._fused(len(pack.present), encoded)

    def _fused(self, count: int, encoded: Callable[[np.ndarray], Mapping[str, EncodedField]]) -> RawOutputs:
        return concatenate([self._graphs.fuse(encoded(rows)) for rows in _pieces(count)])


def _pieces(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, ROWS_AT_ONCE):
        yield np.arange(start, min(start + ROWS_AT_ONCE, count))


def _repeated(item: EncodedField, shown: np.ndarray) -> EncodedField:
    """The one row of a field for each of S, (S,) bool, empty where it is not shown."""
    tokens = np.where(shown[None, :, None, None], item.tokens, np.float32(0))
    features = None if item.features is None else np.where(shown[None, :, None], item.features, np.float32(0))
    return EncodedField(tokens, item.mask & shown[:, None], features)
