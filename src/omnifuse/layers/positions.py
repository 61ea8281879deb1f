"""Positions of tokens in a sequence or a grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoids(num_positions: int, dim: int) -> Tensor:
    """Sines and cosines of geometric wavelengths.

    Args:
        num_positions: T.
        dim: D.

    Returns:
        (T, D) float32; any T can be asked for, so no sequence is too long.

    References: Vaswani et al. 2017, section 3.5.
    """
    half = (dim + 1) // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10_000.0) / max(half - 1, 1)))
    angles = torch.arange(num_positions).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]
