"""What losses between fields share: projected vectors of each field, and the pairs of fields that occur together.

Shapes: B rows, N rows that have both fields, T tokens, D width.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.tokens import Tokens, masked_mean


class PairLoss(nn.Module, abc.ABC):
    """Mean over the pairs of fields that occur together in at least two rows of a batch.

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

    def vectors(self, name: str, item: Tokens) -> Tensor:
        """(B, D) unit vectors of one field: the projected mean of its real tokens."""
        return F.normalize(self.layers[self.fields.index(name)](masked_mean(item)).float(), dim=1, eps=1e-6)

    @abc.abstractmethod
    def pair(self, first: Tensor, second: Tensor) -> Tensor:
        """Loss of N >= 2 pairs of unit vectors (N, D); row n of one belongs to row n of the other."""

    def forward(self, tokens: dict[str, Tokens]) -> Tensor:
        """Mean over the pairs of fields."""
        names = [name for name in self.fields if name in tokens]
        vectors = {name: self.vectors(name, tokens[name]) for name in names}
        present = {name: tokens[name].present for name in names}
        losses = []
        for one, two in itertools.combinations(names, 2):
            both = present[one] & present[two]
            if int(both.sum()) >= 2:
                losses.append(self.pair(vectors[one][both], vectors[two][both]))
        if losses:
            return torch.stack(losses).mean()
        return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0.0
