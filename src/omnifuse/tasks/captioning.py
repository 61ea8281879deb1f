"""A text about a row: what its picture, or any of its fields, shows. Shapes: B rows, T ids with the end, D width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from omnifuse.schema import Target, TaskKind
from omnifuse.tasks.heads import TaskOutput, weighted_mean
from omnifuse.tasks.scorer import Scorer
from omnifuse.tasks.writer import Writer, WriterOptions, dense_text, id_counts, is_text, nothing_chosen, trimmed
from omnifuse.tokens import Fused, Tokens


class CaptioningTask(nn.Module):
    """A causal transformer that attends to the fused tokens, so to every field that is there.

    Args:
        target: Its name.
        dim: D.
        options: Vocabulary and size of the decoder.

    References: Vinyals et al. 2015, Show and Tell; Cornia et al. 2020 (transformers for captions).
    """

    kind = TaskKind.CAPTIONING
    num_outputs = 0
    auxiliary = 0.0

    def __init__(self, target: Target, dim: int, options: WriterOptions) -> None:
        super().__init__()
        self.name, self.text = target.name, options.text
        self.writer = Writer(dim, options)

    @staticmethod
    def dense_target(target: Tensor) -> Tensor:
        """(B, 1) number of ids, NaN where missing."""
        return dense_text(target)

    @staticmethod
    def row_counts(target: Tensor) -> Tensor:
        """(B,) how much each row counts in the mean loss: its ids."""
        return id_counts(target)

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens], target: Tensor | None = None, weights: Tensor | None = None
    ) -> TaskOutput:
        """The loss where a target is given: the mean over ids.

        Args:
            fused: The unified representation.
            tokens: Not read.
            target: (B, T) ids with the end, -1 behind it; a row of -1 is missing.
            weights: (B,) row weights.
        """
        output = nothing_chosen(fused)
        if target is None:
            return output
        is_text(target, self.name, fused.pooled.shape[0])
        counts = id_counts(target) if weights is None else id_counts(target) * weights
        loss = weighted_mean(self.writer(fused, trimmed(target)), counts)
        return replace(output, loss=loss, fused_loss=loss)

    def scorer(self, fused: Fused, tokens: Mapping[str, Tokens], *, ctc: float = 0.0) -> Scorer:
        """What a search asks: one text a row, before its start."""
        return self.writer.scorer(fused)
