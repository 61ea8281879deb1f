"""The shared space: a vector of unit length for each field of a row.

Shapes: B rows, T tokens, D width, S width of the space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.tokens import Tokens, masked_mean


class Space(nn.Module):
    """A linear layer a field on the mean of its tokens, to unit length: what a cosine compares across fields.

    Args:
        fields: All fields in a fixed order.
        dim: D of the tokens.
        output_dim: S.

    Shape: dict of (B, T, D) with masks, any subset of the fields, to dict of (B, S); rows without the field hold
    numbers that nobody reads.

    References: Radford et al. 2021, CLIP, figure 3.
    """

    def __init__(self, fields: Sequence[str], dim: int, output_dim: int) -> None:
        super().__init__()
        self.fields, self.output_dim = tuple(fields), output_dim
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in self.fields)
        self.layers = nn.ModuleList(nn.Linear(dim, output_dim) for _ in self.fields)

    @torch.no_grad()
    def initialise(self, tokens: Mapping[str, Tokens]) -> None:
        """Centre and scale the layers on some rows, so that vectors point everywhere from the first step on.

        What all rows of a field have in common would else be most of every vector: all cosines near 1, and no slope.

        References: Salimans and Kingma 2016, Weight Normalization, section 3 (initial weights that depend on data).
        """
        for index, name in enumerate(self.fields):
            if name not in tokens or int(tokens[name].present.sum()) < 2:
                continue
            layer, item = self.layers[index], tokens[name]
            assert isinstance(layer, nn.Linear)
            given = self.norms[index](masked_mean(item)[item.present])
            out = layer(given)
            scale = out.std(dim=0).clamp(min=1e-3)
            layer.weight.div_(scale.unsqueeze(1))
            layer.bias.copy_((layer.bias - out.mean(dim=0)) / scale)

    def forward(self, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
        """Vectors of the fields that are there."""
        found = {}
        for index, name in enumerate(self.fields):
            if name in tokens:
                projected = self.layers[index](self.norms[index](masked_mean(tokens[name])))
                found[name] = F.normalize(projected.float(), dim=1, eps=1e-6)
        return found


def joined_vector(vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
    """(B, S) the mean of each row's field vectors, to unit length; NaN where a row has no field.

    Where fields agree it lies among them, so that what is known of a row, one field or all, is sought by one vector.

    Args:
        vectors: Field to (B, S), at least one.
        present: Field to (B,) bool.
    """
    stacked = torch.stack([torch.where(present[name].unsqueeze(1), value, 0.0) for name, value in vectors.items()])
    known = torch.stack([present[name] for name in vectors]).any(dim=0)
    return torch.where(known.unsqueeze(1), F.normalize(stacked.sum(dim=0), dim=1, eps=1e-6), torch.nan)
