"""What a search asks for the next id: one network, or several whose probabilities are averaged.

Shapes: N texts in the making, V ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from omnifuse.layers import DecoderState, TextDecoder


class Scorer(Protocol):
    """Says how likely each id is to come next in each of N texts. It remembers the texts; a search tells it what came.

    Attributes:
        device: Where its tensors lie.
    """

    device: torch.device

    def step(self, ids: Tensor) -> Tensor:
        """(N, V) log-probabilities, float32, of what follows the next ids (N,); the first ids are the start."""
        ...

    def take(self, index: Tensor, *, same_row: bool = False) -> None:
        """Go on with the texts of these numbers (M,); `same_row`: each replaces one of its own row."""
        ...


class DecoderScorer:
    """One decoder that reads a context (N, S, D) with mask (N, S)."""

    def __init__(self, decoder: TextDecoder, context: Tensor, mask: Tensor) -> None:
        self.decoder, self.device = decoder, context.device
        self.state: DecoderState = decoder.begin(context, mask)

    def step(self, ids: Tensor) -> Tensor:
        """See `Scorer`."""
        logits, self.state = self.decoder.step(ids, self.state)
        return logits.float().log_softmax(dim=1)

    def take(self, index: Tensor, *, same_row: bool = False) -> None:
        """See `Scorer`."""
        self.state = self.state.take(index, same_context=same_row)


class MeanScorer:
    """The mean of several scorers' probabilities: what an ensemble says."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self.scorers, self.device = list(scorers), scorers[0].device

    def step(self, ids: Tensor) -> Tensor:
        """See `Scorer`."""
        if len(self.scorers) == 1:
            return self.scorers[0].step(ids)
        logs = torch.stack([scorer.step(ids) for scorer in self.scorers])
        return logs.logsumexp(dim=0) - math.log(len(self.scorers))

    def take(self, index: Tensor, *, same_row: bool = False) -> None:
        """See `Scorer`."""
        for scorer in self.scorers:
            scorer.take(index, same_row=same_row)


class WeightedScorer:
    """A weighted sum of scorers' log-probabilities: two views of the same texts, as a decoder's and CTC's."""

    def __init__(self, parts: Sequence[tuple[Scorer, float]]) -> None:
        self.parts, self.device = [(scorer, weight) for scorer, weight in parts if weight > 0], parts[0][0].device

    def step(self, ids: Tensor) -> Tensor:
        """See `Scorer`."""
        return torch.stack([weight * scorer.step(ids) for scorer, weight in self.parts]).sum(dim=0)

    def take(self, index: Tensor, *, same_row: bool = False) -> None:
        """See `Scorer`."""
        for scorer, _ in self.parts:
            scorer.take(index, same_row=same_row)
