"""Bottleneck tokens: fields exchange only what fits through a few. Shapes: B rows, T tokens, D width, K bottlenecks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.layers import TransformerBlock
from omnifuse.tokens import Fused, Tokens

NUM_BOTTLENECKS = 4


class BottleneckFusion(nn.Module):
    """Each field attends to itself and to K shared tokens, which are averaged over the fields.

    Prefer it over `joint` for many long fields: attention costs the sum of the fields' squares, not the square of the
    sum, and each field must condense what it tells the others.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Heads of attention.
        depth: Exchanges, at least 1.
        dropout: Of the blocks.

    Shape: dict of (B, T, D) with masks to tokens (B, K + sum T + places of absent fields, D) and pooled (B, D).

    References: Nagrani et al. 2021, Attention Bottlenecks for Multimodal Fusion, section 3.2.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        self.bottlenecks = nn.Parameter(torch.randn(NUM_BOTTLENECKS, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(TransformerBlock(dim, num_heads, dropout=dropout) for _ in self.absent.fields)
            for _ in range(max(depth, 1))
        )
        self.norm = nn.LayerNorm(dim)

    def blocks_by_level(self) -> list[list[nn.Module]]:
        """The blocks of each exchange, which run side by side."""
        return [list(blocks.children()) for blocks in self.layers]

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to fused tokens and one vector."""
        parts = self.absent.by_field(tokens)
        num_rows = parts[0].values.shape[0]
        shared = self.bottlenecks.to(parts[0].values.dtype).expand(num_rows, -1, -1)
        always = torch.ones(shared.shape[:2], dtype=torch.bool, device=shared.device)
        for blocks in self.layers:
            passed, told = [], []
            for block, item in zip(blocks, parts, strict=True):  # type: ignore[call-overload]
                both = block(torch.cat([shared, item.values], dim=1), torch.cat([always, item.mask], dim=1))
                told.append(both[:, :NUM_BOTTLENECKS])
                passed.append(Tokens(both[:, NUM_BOTTLENECKS:], item.mask))
            parts, shared = passed, torch.stack(told).mean(dim=0)
        values = self.norm(torch.cat([shared, *(item.values for item in parts)], dim=1))
        mask = torch.cat([always, *(item.mask for item in parts)], dim=1)
        pooled = values[:, :NUM_BOTTLENECKS].mean(dim=1)
        return Fused(torch.where(mask.unsqueeze(-1), values, 0.0), mask, pooled)
