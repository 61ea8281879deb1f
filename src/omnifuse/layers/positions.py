"""Positions of tokens in a sequence or a grid."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from omnifuse.layers.masks import is_exporting


def sinusoids(num_positions: int, dim: int) -> Tensor:
    """Sines and cosines of geometric wavelengths.

    Args:
        num_positions: T.
        dim: D.

    Returns:
        (T, D) float32, not to be written to; any T can be asked for, so no sequence is too long.

    References: Vaswani et al. 2017, section 3.5.
    """
    if is_exporting():
        half = (dim + 1) // 2
        rates = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10_000.0) / max(half - 1, 1)))
        angles = torch.arange(num_positions, dtype=torch.float64)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim].float()
    return torch.from_numpy(_table(num_positions, dim))


@lru_cache(maxsize=32)
def _table(num_positions: int, dim: int) -> np.ndarray:
    """Kept as an array: a tensor made in inference mode could not be trained with later."""
    half = (dim + 1) // 2
    rates = np.exp(np.arange(half) * (-math.log(10_000.0) / max(half - 1, 1)))
    angles = np.arange(num_positions)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :dim].astype(np.float32)


def grid_positions(rows: int, columns: int, dim: int) -> Tensor:
    """(rows * columns, dim) positions of a grid: sinusoids of the row, then of the column."""
    down = sinusoids(rows, dim // 2)[:, None].expand(rows, columns, dim // 2)
    across = sinusoids(columns, dim - dim // 2)[None].expand(rows, columns, dim - dim // 2)
    return torch.cat([down, across], dim=2).reshape(rows * columns, dim)
