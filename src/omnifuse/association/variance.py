"""Variance, invariance, covariance: a space that cannot collapse, without strangers. Shapes: N rows, D width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.association.items import Items

# Of invariance, variance and covariance, as in the paper
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
EPSILON = 1e-4


def variance_invariance_covariance(first: Tensor, second: Tensor) -> Tensor:
    """How far partners lie apart, how little each dimension varies, how much two dimensions say the same.

    Args:
        first: (N, D), N >= 2, of any length.
        second: (N, D); row n belongs to row n of `first`.

    Returns:
        Scalar: 25 x mean squared distance + 25 x hinge of the deviations at 1 + squared covariances.

    References: Bardes et al. 2022, VICReg (arXiv:2105.04906), equations 1 to 6.
    """
    loss = INVARIANCE * F.mse_loss(first, second)
    for vectors in (first, second):
        centred = vectors - vectors.mean(dim=0)
        deviations = (centred.square().sum(dim=0) / (len(vectors) - 1) + EPSILON).sqrt()
        loss = loss + VARIANCE / 2 * F.relu(1 - deviations).mean()
        covariances = centred.T @ centred / (len(vectors) - 1)
        rest = covariances.square().sum() - covariances.diagonal().square().sum()
        loss = loss + COVARIANCE * rest / vectors.shape[1]
    return loss


class VarianceObjective(nn.Module):
    """VICReg between two fields, over vectors of unit length times the root of D: 1 is then an even spread.

    Prefer it where many rows mean the same: no row is pushed away from another one. It costs D x D beside N x D.
    The paper's sum is divided by its weight of the invariance, so that it can stand beside other objectives.

    Args:
        dim: D, unused; objectives are built alike.

    Shape: (N, D), (N, D) of unit length and `Items` of N rows, which are not looked at, to a scalar.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, first: Tensor, second: Tensor, items: Items) -> Tensor:
        """The loss."""
        length = first.shape[1] ** 0.5
        return variance_invariance_covariance(first.float() * length, second.float() * length) / INVARIANCE
