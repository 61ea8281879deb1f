"""The cosine loss: pairs point the same way, strangers do not. Shapes: N rows that have both fields, D width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from omnifuse.association.pairs import PairLoss

MARGIN = 0.2


def cosine_loss(first: Tensor, second: Tensor, margin: float = MARGIN) -> Tensor:
    """`1 - cos` of N pairs plus what strangers' cosines exceed a margin by.

    Args:
        first: (N, D) of unit length.
        second: (N, D) of unit length; row n belongs to row n of `first`.
        margin: Cosine up to which strangers cost nothing.

    Returns:
        Scalar: mean over pairs plus mean over the N (N - 1) strangers.

    References: torch.nn.CosineEmbeddingLoss, over all strangers of the batch.
    """
    similar = first @ second.T
    strangers = ~torch.eye(len(first), dtype=torch.bool, device=first.device)
    return (1 - similar.diagonal()).mean() + F.relu(similar[strangers] - margin).mean()


class CosineLoss(PairLoss):
    """The cosine loss between every pair of fields (see `PairLoss`).

    Prefer it where batches are small: unlike InfoNCE it does not need many strangers.
    """

    def pair(self, first: Tensor, second: Tensor) -> Tensor:
        """Cosine loss of N pairs."""
        return cosine_loss(first, second)
