"""Heads on the fused vector and, as auxiliary objective, on each single field. Shapes: B rows, C outputs, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from omnifuse.layers import POOLINGS, Dropout
from omnifuse.tokens import Fused, Tokens


@dataclass(frozen=True)
class TaskOutput:
    """What a task answers.

    Attributes:
        fused: (B, C) of the fused head.
        fields: Field to (B, C) of its own head; rows without the field hold numbers that nobody reads.
        present: Field to (B,) bool.
        loss: Scalar, None where no target was given.
        fused_loss: The fused head's part of `loss`, for logs.
        spread: For regression, (B,) the error that the task expects of `fused`.
    """

    fused: Tensor
    fields: dict[str, Tensor]
    present: dict[str, Tensor]
    loss: Tensor | None = None
    fused_loss: Tensor | None = None
    spread: Tensor | None = None


class Heads(nn.Module):
    """A linear head on the unified representation and one on each field's pooled tokens.

    Args:
        dim: D.
        output_dim: C.
        fields: Fields in a fixed order; with one field alone no field head is made.
        dropout: Before the linear layers.
        pooling: Name in `layers.POOLINGS` for the field heads.
    """

    def __init__(
        self, dim: int, output_dim: int, fields: Sequence[str], *, dropout: float = 0.0, pooling: str = "attention"
    ) -> None:
        super().__init__()
        self.fields = tuple(fields) if len(fields) > 1 else ()
        self.fused = nn.Sequential(nn.LayerNorm(dim), Dropout(dropout), nn.Linear(dim, output_dim))
        self.pools = nn.ModuleList(POOLINGS[pooling](dim) for _ in self.fields)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), Dropout(dropout), nn.Linear(dim, output_dim)) for _ in self.fields
        )

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Outputs of the fused head, of the field heads, and which rows have each field."""
        answers, present = {}, {}
        for index, name in enumerate(self.fields):
            if name in tokens:
                item = tokens[name]
                answers[name] = self.heads[index](self.pools[index](item.values, item.mask))
                present[name] = item.mask.any(dim=1)
        return self.fused(fused.pooled), answers, present


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Mean of (B,) losses by (B,) weights; 0 with a graph where all weights are 0."""
    return torch.where(weights > 0, losses * weights, 0.0).sum() / weights.sum().clamp(min=1e-6)


def with_auxiliary(fused: Tensor, fields: Sequence[Tensor], weight: float) -> Tensor:
    """The fused head's loss plus the weighted mean of the field heads' losses."""
    if not fields or weight == 0:
        return fused
    return fused + weight * torch.stack(list(fields)).mean()
