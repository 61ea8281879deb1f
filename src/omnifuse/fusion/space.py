"""One space: each field to a vector of unit length, and a row to the mean of its fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.tokens import Fused, Tokens, masked_mean


class SpaceFusion(nn.Module):
    """Mean direction of the fields' unit vectors: where fields agree, one is as good as all, so a hole moves little.

    Its layers are those of `association.Space`, so that a pretrained space can be put in; fits with few labels do so.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Not used; the same arguments as every fusion.
        depth: Not used.
        dropout: Not used.

    Shape: dict of (B, T, D) with masks to pooled (B, D) of unit length; 0 where a row has no field.

    References: Radford et al. 2021, CLIP, figure 3.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in self.absent.fields)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in self.absent.fields)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to one vector."""
        self.absent.check(tokens)
        vectors = []
        for index, name in enumerate(self.absent.fields):
            if name in tokens:
                item = tokens[name]
                own = F.normalize(self.layers[index](self.norms[index](masked_mean(item))), dim=1, eps=1e-6)
                vectors.append(torch.where(item.present.unsqueeze(1), own, 0.0))
        pooled = F.normalize(torch.stack(vectors).sum(dim=0), dim=1, eps=1e-6)
        return Fused(*self.absent.joined(tokens), pooled)
