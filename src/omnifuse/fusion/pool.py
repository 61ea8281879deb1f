"""Pooling across fields: the mean, the maximum, or a learned weighting of the field vectors that are there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.layers import MaxPool, MeanPool, WeightedPool
from omnifuse.tokens import Fused, Tokens


class _PoolFusion(nn.Module):
    """Field vectors of the present fields pooled; a row without any gets the sum of the learned absent vectors."""

    def __init__(self, dim: int, fields: Sequence[str], pool: nn.Module) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        self.marks = nn.Parameter(torch.randn(len(self.absent.fields), dim) * 0.02)
        self.pool = pool

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to one vector."""
        vectors, present = self.absent.pooled(tokens)
        pooled = self.pool(vectors, present)
        # Which fields are there is itself told, so that the same vector from one field or from three differs
        missing = torch.where(
            present.unsqueeze(-1), self.marks.to(vectors.dtype), self.absent.vectors.to(vectors.dtype)
        )
        return Fused(*self.absent.joined(tokens), pooled + missing.sum(dim=1))


class MeanFusion(_PoolFusion):
    """Mean of the present fields: what is missing neither adds nor takes away."""

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, fields, MeanPool(dim))


class MaxFusion(_PoolFusion):
    """Largest value of each feature over the present fields: for alarms, where one field is enough."""

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, fields, MaxPool(dim))


class WeightedFusion(_PoolFusion):
    """Mean with one learned score a field and row: where fields differ in how far they can be trusted."""

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, fields, WeightedPool(dim))
