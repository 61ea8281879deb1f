"""One class a row. Shapes: B rows, C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.schema import Target, TaskKind
from omnifuse.tasks.heads import Heads, TaskOutput, each_member, joined, weighted_mean, with_auxiliary
from omnifuse.tokens import Fused, Tokens


class ClassificationTask(nn.Module):
    """Softmax over classes with label smoothing and class weights.

    Args:
        target: Its classes give C.
        dim: D.
        fields: Fields in a fixed order.
        dropout: Of the heads.
        pooling: Of the field heads.
        auxiliary: Weight of the field heads' mean loss.
        label_smoothing: Share of the label that is spread evenly over all classes.
        members: Field to the number of its encoder's members, see `Heads`.

    References: Szegedy et al. 2016, section 7 (label smoothing).
    """

    kind = TaskKind.CLASSIFICATION
    class_weights: Tensor

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
        self.register_buffer("class_weights", torch.ones(self.num_outputs), persistent=False)

    def soft_target(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) codes or (B, C) shares to (B, C) shares and (B,) bool of the known rows."""
        return class_shares(target, self.num_outputs)

    def dense_target(self, target: Tensor) -> Tensor:
        """(B,) codes to (B, C) shares, NaN where missing."""
        return dense_shares(target, self.num_outputs)

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens], target: Tensor | None = None, weights: Tensor | None = None
    ) -> TaskOutput:
        """Logits, and the loss where a target is given.

        Args:
            fused: The unified representation.
            tokens: Tokens of each field.
            target: (B,) int64 codes, -1 = missing, or (B, C) shares after mixup.
            weights: (B,) row weights.
        """
        logits, answers, present = self.heads(fused, tokens)
        found = {name: joined(self.kind, item) for name, item in answers.items()}
        if target is None:
            return TaskOutput(logits, found, present)
        soft, known = self.soft_target(target)
        row_weights = known.to(torch.float32) * (soft @ self.class_weights)
        if weights is not None:
            row_weights = row_weights * weights
        smooth = soft * (1 - self.label_smoothing) + self.label_smoothing / self.num_outputs
        fused_loss = self._loss(logits, smooth, row_weights)
        parts = {name: each_member(self._loss, answers[name], smooth, row_weights * present[name]) for name in answers}
        loss = with_auxiliary(fused_loss, parts, self.auxiliary)
        return TaskOutput(logits, found, present, loss, fused_loss, field_losses=parts)

    @staticmethod
    def _loss(logits: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
        return weighted_mean(-(shares * logits.float().log_softmax(dim=1)).sum(dim=1), weights)


def class_shares(target: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """(B,) codes or (B, C) shares to (B, C) shares and (B,) bool of the known rows."""
    if target.ndim == 2:
        return target, target.sum(dim=1) > 0
    known = target >= 0
    return F.one_hot(target.clamp(min=0), num_classes).to(torch.float32) * known.unsqueeze(1), known


def dense_shares(target: Tensor, num_classes: int) -> Tensor:
    """(B,) codes to (B, C) shares, NaN where missing."""
    soft, known = class_shares(target, num_classes)
    return torch.where(known.unsqueeze(1), soft, torch.nan)
