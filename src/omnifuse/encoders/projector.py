"""From each encoder's width to the model's one width, with learned marks of field and modality."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from omnifuse.layers import TransformerBlock
from omnifuse.layers.masks import all_real
from omnifuse.tokens import Tokens


class Projectors(nn.Module):
    """A linear layer a field, plus the learned embeddings of the field and of its modality.

    Args:
        widths: Field to the width of its encoder.
        modalities: Field to the name of its modality; fields of one modality share its embedding.
        dim: D, the model's width.

    Shape: (B, T, width) to (B, T, D); the mask stays.
    """

    def __init__(self, widths: Mapping[str, int], modalities: Mapping[str, str], dim: int) -> None:
        super().__init__()
        self.order = tuple(widths)
        self.modalities = dict(modalities)
        self.layers = nn.ModuleList(nn.Linear(width, dim) for width in widths.values())
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in widths)
        self.field_embeddings = nn.Parameter(torch.randn(len(widths), dim) * 0.1)
        self.kinds = tuple(sorted(set(modalities.values())))
        self.modality_embeddings = nn.Parameter(torch.randn(len(self.kinds), dim) * 0.1)

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """Project the tokens of any subset of the fields; absent rows stay zero."""
        projected = {}
        for name, item in tokens.items():
            index = self.order.index(name)
            mark = self.field_embeddings[index] + self.modality_embeddings[self.kinds.index(self.modalities[name])]
            values: Tensor = self.norms[index](self.layers[index](item.values)) + mark
            if not all_real(item.mask):
                values = values * item.mask.unsqueeze(-1)
            projected[name] = Tokens(values, item.mask)
        return projected


class SharedTrunk(nn.Module):
    """Transformer blocks with the same weights for every field: one trunk for all modalities.

    Args:
        dim: D.
        depth: Blocks.
        num_heads: Heads of attention.
        dropout: Of the blocks.

    References: Girdhar et al. 2022, Omnivore: one trunk, modality-specific patch embeddings.
    """

    def __init__(self, dim: int, *, depth: int = 1, num_heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads, dropout=dropout) for _ in range(depth))

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """(B, T, D) of each field to the same."""
        passed = {}
        for name, item in tokens.items():
            values = item.values
            for block in self.blocks:
                values = block(values, item.mask)
            passed[name] = Tokens(values * item.mask.unsqueeze(-1), item.mask)
        return passed
