"""Contrastive alignment: fields of one row are drawn together, those of other rows pushed apart.

Shapes: N rows that have both fields, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.association.pairs import PairLoss

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


class AlignmentLoss(PairLoss):
    """InfoNCE with a learned temperature between every pair of fields (see `PairLoss`).

    Prefer it for retrieval: it orders candidates, which the cosine loss does not.
    """

    def __init__(self, fields: Sequence[str], dim: int, output_dim: int | None = None) -> None:
        super().__init__(fields, dim, output_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def pair(self, first: Tensor, second: Tensor) -> Tensor:
        """InfoNCE of N pairs."""
        return contrastive_loss(first, second, self.log_scale.clamp(max=HOTTEST))
