"""Contrastive alignment: fields of one row are drawn together, those of other rows pushed apart.

Shapes: B rows, N rows that have both fields, T tokens, D width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.tokens import Tokens

HOTTEST = math.log(100.0)


def contrastive_loss(first: Tensor, second: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of N pairs.

    Args:
        first: (N, D) of unit length.
        second: (N, D) of unit length; row n belongs to row n of `first`.
        log_scale: Logarithm of one over the temperature.

    Returns:
        Scalar: mean cross-entropy of finding the partner among N, both ways.

    References: Radford et al. 2021, CLIP, figure 3.
    """
    similar = log_scale.exp() * first @ second.T
    wanted = torch.arange(len(first), device=first.device)
    return 0.5 * (F.cross_entropy(similar, wanted) + F.cross_entropy(similar.T, wanted))


class AlignmentLoss(nn.Module):
    """InfoNCE between every pair of fields that occur together in at least two rows of the batch.

    An auxiliary objective: prefer a small weight, since rows of one class are treated as strangers.

    Args:
        fields: All fields in a fixed order.
        dim: D of the tokens.
        output_dim: Width of the space in which fields are compared; D by default.

    Shape: dict of (B, T, D) with masks, any subset of the fields, to a scalar; 0 where no pair occurs.
    """

    def __init__(self, fields: Sequence[str], dim: int, output_dim: int | None = None) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.layers = nn.ModuleList(nn.Linear(dim, output_dim or dim) for _ in self.fields)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def vectors(self, name: str, item: Tokens) -> Tensor:
        """(B, D) unit vectors of one field: the projected mean of its real tokens."""
        weights = item.mask.to(item.values.dtype).unsqueeze(-1)
        mean = (item.values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return F.normalize(self.layers[self.fields.index(name)](mean).float(), dim=1, eps=1e-6)

    def forward(self, tokens: dict[str, Tokens]) -> Tensor:
        """Mean over the pairs of fields."""
        names = [name for name in self.fields if name in tokens]
        vectors = {name: self.vectors(name, tokens[name]) for name in names}
        present = {name: tokens[name].mask.any(dim=1) for name in names}
        scale = self.log_scale.clamp(max=HOTTEST)
        losses = []
        for one, two in itertools.combinations(names, 2):
            both = present[one] & present[two]
            if int(both.sum()) >= 2:
                losses.append(contrastive_loss(vectors[one][both], vectors[two][both], scale))
        return torch.stack(losses).mean() if losses else self.log_scale * 0.0
