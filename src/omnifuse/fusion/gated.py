"""Gated units: each feature of the fused vector chooses among the fields. Shapes: B rows, D width, M fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.tokens import Fused, Tokens


class GatedFusion(nn.Module):
    """`sum_m g_m * tanh(W_m x_m)`, with gates g that all field vectors decide together, feature by feature.

    Prefer it where which field to trust changes from row to row, as with noise in one of them; gates of absent fields
    are shut.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Not used; the same arguments as every fusion.
        depth: Not used.
        dropout: Not used.

    Shape: dict of (B, T, D) with masks to pooled (B, D).

    References: Arevalo et al. 2017, Gated Multimodal Units for Information Fusion, section 3. Changed: gates are a
    softmax over the present fields, so that they sum to one for any number of them.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        count = len(self.absent.fields)
        self.values = nn.ModuleList(nn.Linear(dim, dim) for _ in range(count))
        self.scores = nn.Linear(count * dim, count * dim)

    def gates(self, vectors: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """(B, M, D) and (B, M) bool to (B, M, D) that sum to one over the present fields (over all where none is)."""
        scores = self.scores(vectors.flatten(1)).view_as(vectors)
        allowed = present | ~present.any(dim=1, keepdim=True)
        gates: torch.Tensor = scores.masked_fill(~allowed.unsqueeze(-1), float("-inf")).softmax(dim=1)
        return gates

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to one vector."""
        vectors, present = self.absent.pooled(tokens)
        parts = torch.stack([layer(vectors[:, index]) for index, layer in enumerate(self.values)], dim=1).tanh()
        pooled = (self.gates(vectors, present) * parts).sum(dim=1)
        return Fused(*self.absent.joined(tokens), pooled)
