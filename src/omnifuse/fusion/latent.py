"""Latent vectors that read all tokens. Shapes: B rows, T tokens, D width, L latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.layers import CrossBlock, TransformerBlock
from omnifuse.tokens import Fused, Tokens

NUM_LATENTS = 8


class LatentFusion(nn.Module):
    """L learned vectors attend to the tokens of all fields, then to one another; their mean is the fused vector.

    Prefer it over `joint` for very long fields: attention costs T times L, not T squared.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Heads of attention.
        depth: Times that the latents read, at least 1.
        dropout: Of the blocks.

    Shape: dict of (B, T, D) with masks to tokens (B, L, D) and pooled (B, D).

    References: Jaegle et al. 2021, Perceiver: General Perception with Iterative Attention.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        self.latents = nn.Parameter(torch.randn(NUM_LATENTS, dim) * 0.02)
        count = max(depth, 1)
        self.reads = nn.ModuleList(CrossBlock(dim, num_heads, dropout=dropout) for _ in range(count))
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads, dropout=dropout) for _ in range(count))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to latents and one vector."""
        context, mask = self.absent.joined(tokens)
        latents = self.latents.to(context.dtype).expand(context.shape[0], -1, -1)
        for read, block in zip(self.reads, self.blocks, strict=True):
            latents = block(read(latents, context, mask), None)
        latents = self.norm(latents)
        everywhere = torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)
        return Fused(latents, everywhere, latents.mean(dim=1))
