"""A transformer over the tokens of all fields together: the default."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.layers import AttentionPool, TransformerBlock
from omnifuse.layers.masks import all_real
from omnifuse.tokens import Fused, Tokens, masked_mean


class JointFusion(nn.Module):
    """Self-attention among all tokens with masks, then attention pooling beside the mean of the field vectors.

    The mean of field vectors is a short way from encoder to head: with few rows the blocks need not learn to pass
    the fields on. A tuned late-fusion transformer is hard to beat, so this is the default and the baseline.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Heads of attention.
        depth: Blocks.
        dropout: Of the blocks.

    Shape: dict of (B, T, D) with masks to tokens (B, sum T + places of absent fields, D) and pooled (B, D).

    References: arXiv 2512.22991 (late-fusion transformer over per-modality tokens with masks). Changed: learned absent
    tokens, the short way.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.pool = AttentionPool(dim, num_heads)
        self.short_way = nn.Linear(dim, dim)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to fused tokens and one vector."""
        vectors, present = self.absent.pooled(tokens)
        values, mask = self.absent.joined(tokens)
        is_full = all_real(mask)
        for block in self.blocks:
            values = block(values, None if is_full else mask)
        values = self.norm(values)
        pooled = self.pool(values, mask) + self.short_way(masked_mean(Tokens(vectors, present)))
        return Fused(values if is_full else torch.where(mask.unsqueeze(-1), values, 0.0), mask, pooled)
