"""An answer in words to a row's question about its picture, sound or table. Shapes: B rows, T ids, D width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from omnifuse.schema import Target, TaskKind
from omnifuse.tasks.heads import TaskOutput, weighted_mean
from omnifuse.tasks.scorer import Scorer
from omnifuse.tasks.writer import Writer, WriterOptions, dense_text, id_counts, is_text, nothing_chosen, trimmed
from omnifuse.tokens import Fused, Tokens


class AnsweringTask(nn.Module):
    """A decoder over the fused tokens and, as one more token, their pooled vector.

    A short answer mostly rests on what question and picture say together, which is what the pooled vector holds. The
    question is a field of text like any other. Answers are open, or from a list where `Model.generate` is given
    `choices`.

    Args:
        target: Its name.
        dim: D.
        options: Vocabulary and size of the decoder.

    References: Antol et al. 2015, VQA; Cho et al. 2021, VL-T5 (answers as texts).
    """

    kind = TaskKind.ANSWERING
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
        """The loss where a target is given; arguments as for `CaptioningTask`."""
        output = nothing_chosen(fused)
        if target is None:
            return output
        is_text(target, self.name, fused.pooled.shape[0])
        counts = id_counts(target) if weights is None else id_counts(target) * weights
        loss = weighted_mean(self.writer(_with_pooled(fused), trimmed(target)), counts)
        return replace(output, loss=loss, fused_loss=loss)

    def scorer(self, fused: Fused, tokens: Mapping[str, Tokens], *, ctc: float = 0.0) -> Scorer:
        """What a search asks: one text a row, before its start."""
        return self.writer.scorer(_with_pooled(fused))


def _with_pooled(fused: Fused) -> Fused:
    """The pooled vector before the tokens."""
    tokens = torch.cat([fused.pooled.unsqueeze(1).to(fused.tokens.dtype), fused.tokens], dim=1)
    mask = torch.cat([torch.ones_like(fused.mask[:, :1]), fused.mask], dim=1)
    return Fused(tokens, mask, fused.pooled)
