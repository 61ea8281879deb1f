"""The tensor product of all fields at low rank. Shapes: B rows, T tokens, D width, M fields, R rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.tokens import Fused, Tokens

RANK = 8


class LowRankFusion(nn.Module):
    """`sum_r w_r * prod_m (F_m,r [x_m; 1])`: every product of features across fields, with M x R factors.

    The 1 beside each vector keeps the products of fewer fields in. Prefer it where fields change one another's meaning
    and are few: each further field is one more factor of every product.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Not used; the same arguments as every fusion.
        depth: Not used.
        dropout: Not used.

    Shape: dict of (B, T, D) with masks to pooled (B, D).

    References: Liu et al. 2018, Efficient Low-rank Multimodal Fusion with Modality-Specific Factors, equation 7.
    Changed: field vectors are normed and factors start around one, so that long products neither vanish nor burst.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        count = len(self.absent.fields)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(count))
        self.factors = nn.Parameter(torch.randn(count, RANK, dim, dim) * 0.5 / dim**0.5)
        self.ones = nn.Parameter(torch.ones(count, RANK, dim) + 0.1 * torch.randn(count, RANK, dim))
        self.weights = nn.Parameter(torch.randn(RANK) / RANK**0.5)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to one vector; an absent field's factor is that of its learned vector."""
        vectors, _ = self.absent.pooled(tokens)
        normed = torch.stack([norm(vectors[:, index]) for index, norm in enumerate(self.norms)], dim=1)
        parts = torch.einsum("bmd,mrdo->bmro", normed, self.factors.to(normed.dtype)) + self.ones
        pooled = torch.einsum("bro,r->bo", parts.prod(dim=1), self.weights) + self.bias
        return Fused(*self.absent.joined(tokens), pooled)
