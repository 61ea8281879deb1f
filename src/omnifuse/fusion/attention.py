"""Cross-attention: each field asks all the others. Shapes: B rows, T tokens, D width, M fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.layers import CrossBlock
from omnifuse.tokens import Fused, Tokens, masked_mean


class AttentionFusion(nn.Module):
    """Each field's tokens attend to the tokens of the other fields, then field vectors are joined by a linear layer.

    Prefer it over `joint` where fields are long and alike inside themselves, as sound and video: no token is compared
    with those of its own field, which its encoder has done.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Heads of attention.
        depth: Blocks a field.
        dropout: Of the blocks.

    Shape: dict of (B, T, D) with masks to tokens (B, sum T + places of absent fields, D) and pooled (B, D).

    References: Tsai et al. 2019, Multimodal Transformer for Unaligned Multimodal Language Sequences. Changed: one block
    asks all other fields together instead of one a pair, so that cost grows with fields, not with pairs.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        self.blocks = nn.ModuleList(
            nn.ModuleList(CrossBlock(dim, num_heads, dropout=dropout) for _ in range(depth)) for _ in self.absent.fields
        )
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim * len(self.absent.fields), dim)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to fused tokens and one vector."""
        parts = self.absent.by_field(tokens)
        asked, vectors = [], []
        for index, item in enumerate(parts):
            others = [part for place, part in enumerate(parts) if place != index] or [item]
            context = torch.cat([part.values for part in others], dim=1)
            mask = torch.cat([part.mask for part in others], dim=1)
            values = item.values
            for block in self.blocks[index]:  # type: ignore[attr-defined]
                values = block(values, context, mask)
            found = Tokens(self.norm(values), item.mask)
            asked.append(found)
            vectors.append(masked_mean(found))
        values = torch.cat([item.values for item in asked], dim=1)
        mask = torch.cat([item.mask for item in asked], dim=1)
        pooled = self.output(torch.cat(vectors, dim=1))
        return Fused(torch.where(mask.unsqueeze(-1), values, 0.0), mask, pooled)
