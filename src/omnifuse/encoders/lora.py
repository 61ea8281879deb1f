"""Low-rank adapters: what a backbone has learnt stays, and a product of two thin matrices learns beside it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RANK = 8
# Names of the projections of attention in the library's modules
PROJECTIONS = ("query", "key", "value", "q_proj", "k_proj", "v_proj", "Wqkv", "qkv")


class LowRank(nn.Module):
    """`scale x up(down(x))`, nothing at first since `up` begins at zero.

    Args:
        inputs: Width of x.
        outputs: Width of the result.
        rank: Of the product.

    Shape: (..., inputs) to (..., outputs).

    References: Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models, section 4.1; the scale is
        alpha / rank with alpha = 2 rank.
    """

    scale = 2.0

    def __init__(self, inputs: int, outputs: int, rank: int = RANK) -> None:
        super().__init__()
        rank = min(rank, inputs, outputs)
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, values: Tensor) -> Tensor:
        """The change of the projection."""
        return self.scale * ((values @ self.down.T) @ self.up.T)


class Adapted(nn.Module):
    """A linear layer that stays as it is, and the adapter beside it."""

    def __init__(self, linear: nn.Linear, adapter: LowRank) -> None:
        super().__init__()
        self.linear, self.adapter = linear, adapter

    @property
    def weight(self) -> Tensor:
        """Of the layer that stays, for code that asks its type."""
        return self.linear.weight

    def forward(self, values: Tensor) -> Tensor:
        """The layer and its change."""
        out: Tensor = self.linear(values) + self.adapter(values).to(values.dtype)
        return out


def adapt(module: nn.Module, rank: int = RANK) -> list[LowRank]:
    """Put an adapter beside every projection of attention, in place.

    Args:
        module: Whose linear layers named in `PROJECTIONS` are adapted.
        rank: Of each adapter.

    Returns:
        The adapters in the order of the module's parts.

    Raises:
        ValueError: There is no such layer.
    """
    places = [
        (parent, name, layer)
        for parent in module.modules()
        for name, layer in parent.named_children()
        if name in PROJECTIONS and isinstance(layer, nn.Linear)
    ]
    if not places:
        raise ValueError("the backbone has no projection of attention that can be adapted")
    adapters = []
    for parent, name, layer in places:
        adapters.append(LowRank(layer.in_features, layer.out_features, rank))
        setattr(parent, name, Adapted(layer, adapters[-1]))
    return adapters
