"""Concatenation of the field vectors, then one hidden layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.layers import MLP
from omnifuse.tokens import Fused, Tokens


class ConcatFusion(nn.Module):
    """Field vectors side by side through a linear layer and an MLP: a strong and quick baseline of few fields.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Not used; the same arguments as every fusion.
        depth: 0 leaves the linear layer alone; from 1 on an MLP is added.
        dropout: Of the hidden layer.

    Shape: dict of (B, T, D) with masks to pooled (B, D).
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        width = dim * len(self.absent.fields)
        self.linear = nn.Linear(width, dim)
        self.mlp = MLP(width, 2 * dim, dim, dropout=dropout) if depth else None

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to one vector; an absent field's place is taken by its learned vector."""
        vectors, _ = self.absent.pooled(tokens)
        flat = vectors.flatten(1)
        pooled = self.linear(flat)
        if self.mlp is not None:
            pooled = pooled + self.mlp(flat)
        return Fused(*self.absent.joined(tokens), pooled)
