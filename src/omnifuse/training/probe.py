"""One row behind the networks' encoders, asked again with fields hidden or one field changed.

Shapes: E members, S rows asked, M inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch

from omnifuse.data.pack import Pack
from omnifuse.explain.probe import ROWS_AT_ONCE
from omnifuse.model import MultimodalModel
from omnifuse.readout.raw import RawOutputs, concatenate
from omnifuse.tasks import Summary
from omnifuse.tokens import Tokens
from omnifuse.training.batches import make_batch
from omnifuse.training.predict import Encoded, encode_member, gather_outputs, named_shallow, own_heads, read_member


class NetworkProbe:
    """See `omnifuse.explain.Probe`.

    Args:
        members: Networks of one architecture, in eval mode.
        fields: The model's inputs in order.
        packs: Input to decoded arrays.
        row: Number of the row in them.
        heads: The heads that are weighed for some subset of fields; None computes all.
    """

    @torch.inference_mode()
    def __init__(
        self,
        members: Sequence[MultimodalModel],
        fields: Sequence[str],
        packs: Mapping[str, Pack],
        row: int,
        *,
        heads: Collection[str] | None = None,
    ) -> None:
        self._members, self._fields, self._heads = members, tuple(fields), heads
        self._shallow = named_shallow(heads)
        self._own = own_heads(members[0])
        self._encoded = self._encode({name: packs[name] for name in members[0].fields}, np.array([row]))
        self._there = {name: bool(packs[name].present[row]) for name in self._fields}

    def subsets(self, shown: np.ndarray) -> RawOutputs:
        """S rows of raw outputs for the fields that stay, (S, M) bool."""
        there = np.array([self._there[name] for name in self._fields])
        parts = []
        for rows in _pieces(len(shown)):
            present = dict(zip(self._fields, (shown[rows] & there).T, strict=True))
            parts.append(self._answers([_repeated(item, present) for item in self._encoded], present))
        return concatenate(parts)

    def variants(self, name: str, pack: Pack) -> RawOutputs:
        """S rows of raw outputs with other arrays in one field."""
        parts = []
        for rows in _pieces(len(pack.present)):
            present = {other: np.full(len(rows), there) for other, there in self._there.items()}
            present[name] = pack.present[rows]
            changed = self._encode({name: pack}, rows)
            joined = []
            for (tokens, summaries), (new_tokens, new_summaries) in zip(self._encoded, changed, strict=True):
                others = {other: item for other, item in tokens.items() if other != name}
                read = {other: item for other, item in summaries.items() if other != name}
                kept_tokens, kept_summaries = _repeated((others, read), present)
                joined.append(({**kept_tokens, **new_tokens}, {**kept_summaries, **new_summaries}))
            parts.append(self._answers(joined, present))
        return concatenate(parts)

    @torch.inference_mode()
    def _encode(self, packs: Mapping[str, Pack], rows: np.ndarray) -> list[Encoded]:
        device = next(self._members[0].parameters()).device
        batch = make_batch(packs, rows).to(device)
        return [encode_member(batch, self._shallow, member) for member in self._members]

    @torch.inference_mode()
    def _answers(self, encoded: Sequence[Encoded], present: Mapping[str, np.ndarray]) -> RawOutputs:
        count = len(next(iter(present.values())))
        names = [name for name in self._members[0].fields if present[name].any()]
        pairs = zip(self._members, encoded, strict=True)
        answers = [read_member(count, tuple(names), self._heads, self._shallow, pair) for pair in pairs]
        return gather_outputs(answers, dict(present), self._own)


def _pieces(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, ROWS_AT_ONCE):
        yield np.arange(start, min(start + ROWS_AT_ONCE, count))


def _repeated(encoded: Encoded, present: Mapping[str, np.ndarray]) -> Encoded:
    """The one row of each field for each of S, empty where it is not present, (S,) bool."""
    tokens, summaries = encoded
    shown = {
        name: torch.from_numpy(np.ascontiguousarray(present[name])).to(item.values.device)
        for name, item in tokens.items()
    }
    return (
        {
            name: Tokens(item.values * shown[name][:, None, None], item.mask & shown[name][:, None])
            for name, item in tokens.items()
        },
        {
            name: Summary(item.values * shown[name][:, None], item.present & shown[name])
            for name, item in summaries.items()
        },
    )
