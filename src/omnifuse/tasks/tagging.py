"""Any number of tags a row. Shapes: B rows, C tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.schema import Target, TaskKind
from omnifuse.tasks.heads import Heads, TaskOutput, each_member, joined, weighted_mean, with_auxiliary
from omnifuse.tokens import Fused, Tokens


class TaggingTask(nn.Module):
    """One sigmoid a tag.

    Args:
        target: Its classes are the tags.
        dim: D.
        fields: Fields in a fixed order.
        dropout: Of the heads.
        pooling: Of the field heads.
        auxiliary: Weight of the field heads' mean loss.
        label_smoothing: How far 0 and 1 are drawn towards 0.5.
        members: Field to the number of its encoder's members, see `Heads`.
    """

    kind = TaskKind.TAGGING

    def __init__(
        self,
        target: Target,
        dim: int,
        fields: Sequence[str],
        *,
        dropout: float = 0.0,
        pooling: str = "attention",
        auxiliary: float = 0.5,
        label_smoothing: float = 0.0,
        members: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.num_outputs = target.name, len(target.classes)
        self.auxiliary, self.label_smoothing = auxiliary, label_smoothing
        self.heads = Heads(dim, self.num_outputs, fields, dropout=dropout, pooling=pooling, members=members)

    @staticmethod
    def dense_target(target: Tensor) -> Tensor:
        """(B, C) tags as they are, NaN where missing."""
        return target

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens], target: Tensor | None = None, weights: Tensor | None = None
    ) -> TaskOutput:
        """Logits, and the loss where a target (B, C) of 0 to 1 is given; a NaN row is missing."""
        logits, answers, present = self.heads(fused, tokens)
        found = {name: joined(self.kind, item) for name, item in answers.items()}
        if target is None:
            return TaskOutput(logits, found, present)
        known = ~target.isnan().any(dim=1)
        row_weights = known.to(torch.float32) if weights is None else known * weights
        smooth = torch.nan_to_num(target) * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        fused_loss = self._loss(logits, smooth, row_weights)
        parts = {name: each_member(self._loss, answers[name], smooth, row_weights * present[name]) for name in answers}
        loss = with_auxiliary(fused_loss, parts, self.auxiliary)
        return TaskOutput(logits, found, present, loss, fused_loss, field_losses=parts)

    @staticmethod
    def _loss(logits: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(logits.float(), shares, reduction="none").mean(dim=1)
        return weighted_mean(losses, weights)
