"""Bilinear layers: how much two vectors belong together, feature by feature. Shapes: B rows, D width, O outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers import Dropout


class BilinearAssociation(nn.Module):
    """The full form `x' W_o y + b_o` for each output o: exact but D x D x O weights; prefer it for small widths.

    Args:
        dim: D of both vectors.
        output_dim: O.

    Shape: (B, D), (B, D) to (B, O).

    References: Tenenbaum and Freeman 2000, Separating Style and Content with Bilinear Models.
    """

    def __init__(self, dim: int, output_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(output_dim, dim, dim) / dim)
        self.bias = nn.Parameter(torch.zeros(output_dim))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Associate two vectors a row."""
        return torch.einsum("bi,oij,bj->bo", first, self.weight, second) + self.bias


class LowRankBilinear(nn.Module):
    """`P (tanh(U x) * tanh(V y))`: the bilinear form at rank R, with far fewer weights.

    Args:
        dim: D of both vectors.
        rank: R.
        output_dim: O.

    Shape: (B, D), (B, D) to (B, O).

    References: Kim et al. 2017, Hadamard Product for Low-rank Bilinear Pooling, equation 12.
    """

    def __init__(self, dim: int, rank: int, output_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, rank)
        self.second = nn.Linear(dim, rank)
        self.output = nn.Linear(rank, output_dim)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Associate two vectors a row."""
        out: Tensor = self.output(torch.tanh(self.first(first)) * torch.tanh(self.second(second)))
        return out


class FactorisedBilinear(nn.Module):
    """Bilinear pooling with K factors an output: `z_o = sum_k (U x)_ok (V y)_ok`, then signed root and unit length.

    Prefer it over `LowRankBilinear` where the result is fed on as a vector: the root tames products of large features.

    Args:
        dim: D of both vectors.
        output_dim: O.
        factors: K.
        dropout: Of the products.

    Shape: (B, D), (B, D) to (B, O) of unit length.

    References: Yu et al. 2017, Multi-modal Factorized Bilinear Pooling (MFB), equations 3 and 4, figure 2.
    """

    def __init__(self, dim: int, output_dim: int, factors: int = 4, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.output_dim, self.factors = output_dim, factors
        self.first = nn.Linear(dim, output_dim * factors)
        self.second = nn.Linear(dim, output_dim * factors)
        self.dropout = Dropout(dropout)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Associate two vectors a row."""
        products = self.dropout(self.first(first) * self.second(second))
        pooled = products.view(-1, self.output_dim, self.factors).sum(dim=2)
        # The slope of a root at 0 has no end
        rooted = pooled.sign() * ((pooled.abs() + 1e-6).sqrt() - 1e-3)
        return F.normalize(rooted, dim=1, eps=1e-6)
