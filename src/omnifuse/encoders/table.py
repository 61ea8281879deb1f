"""Numbers and categories to tokens. Shapes: P present rows, N numbers, K categories, T tokens, D width."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers import MLP, TransformerBlock
from omnifuse.layers.masks import full_mask
from omnifuse.tokens import FieldBatch, Tokens

MAX_COLUMN_TOKENS = 96
MAX_BINS = 24
# Levels beyond these share places in the summary
MAX_SUMMARY_LEVELS = 512


class PiecewiseLinear(nn.Module):
    """Each number as how far it has come through the bins of its column, then a linear layer of its own.

    Args:
        edges: Ends of the bins of each column, strictly increasing.
        dim: D.

    Shape: (P, N) to (P, N, D).

    References: Gorishniy et al. 2022, On Embeddings for Numerical Features, section 3.1 (PLE with quantile bins).
    """

    edges: Tensor
    widths: Tensor
    real: Tensor

    def __init__(self, edges: Sequence[Sequence[float]], dim: int) -> None:
        super().__init__()
        thinned = [_thin(list(column), MAX_BINS) for column in edges]
        longest = max((len(column) - 1 for column in thinned), default=1)
        starts, widths, real = (torch.zeros(len(thinned), longest) for _ in range(3))
        for number, column in enumerate(thinned):
            count = len(column) - 1
            starts[number, :count] = torch.tensor(column[:-1])
            widths[number, :count] = torch.tensor(column).diff()
            real[number, :count] = 1
        self.register_buffer("edges", starts)
        self.register_buffer("widths", widths + (1 - real))
        self.register_buffer("real", real)
        self.weight = nn.Parameter(torch.randn(len(thinned), longest, dim) / max(longest, 1) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(len(thinned), dim))

    def forward(self, numbers: Tensor) -> Tensor:
        """Embed scaled numbers."""
        shares = ((numbers.unsqueeze(-1) - self.edges) / self.widths).clamp(0, 1) * self.real
        return torch.einsum("pnb,nbd->pnd", shares, self.weight) + self.bias


class Periodic(nn.Module):
    """Each number as sines and cosines of learned frequencies, then a linear layer of its own.

    References: Gorishniy et al. 2022, section 3.2.
    """

    def __init__(self, num_numbers: int, dim: int, *, num_frequencies: int = 16, spread: float = 0.3) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(num_numbers, num_frequencies) * spread)
        self.weight = nn.Parameter(torch.randn(num_numbers, 2 * num_frequencies, dim) / (2 * num_frequencies) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(num_numbers, dim))

    def forward(self, numbers: Tensor) -> Tensor:
        """(P, N) to (P, N, D)."""
        angles = 2 * torch.pi * numbers.unsqueeze(-1) * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return F.relu(torch.einsum("pnf,nfd->pnd", waves, self.weight) + self.bias)


def level_offsets(cardinalities: Sequence[int]) -> tuple[Tensor, int]:
    """(K,) where each category column's levels begin among all levels, and how many there are in all."""
    ends = torch.tensor([0, *cardinalities], dtype=torch.long).cumsum(dim=0)
    return ends[:-1], int(ends[-1])


def num_summary_levels(num_levels: int) -> int:
    """Places for levels in a summary."""
    return min(num_levels, MAX_SUMMARY_LEVELS)


def summarise_cells(batch: FieldBatch, offsets: Tensor, num_levels: int) -> Tensor:
    """(P, 2 N + K + num_levels): scaled numbers, missing flags and levels, about unit length."""
    numbers = batch.values["numbers"].float().clamp(-3, 3)
    parts = [numbers, batch.values["missing"].float()]
    if num_levels:
        places = (batch.values["categories"].long() + offsets) % num_levels
        parts.append(numbers.new_zeros((numbers.shape[0], num_levels)).scatter_(1, places, 1.0))
    features = torch.cat(parts, dim=1)
    return features / math.sqrt(features.shape[1])


def _thin(edges: list[float], limit: int) -> list[float]:
    """At most `limit` bins, evenly picked, both ends kept."""
    if len(edges) - 1 <= limit:
        return edges
    picked = sorted({round(step * (len(edges) - 1) / limit) for step in range(limit + 1)})
    return [edges[index] for index in picked]


class TableEncoder(nn.Module):
    """A transformer over one token a column, beside a linear token of all columns.

    The linear token reads scaled numbers, missing flags and levels directly, so that what a linear model finds is
    never harder to learn here. Tables wider than 96 columns use an MLP of all columns instead of column tokens.

    Args:
        dim: D.
        num_numbers: N.
        cardinalities: Levels of each category column (K of them).
        edges: Bin ends of each number column.
        depth: Blocks.
        num_heads: Heads of attention.
        dropout: Of the blocks.
        numbers: "piecewise" or "periodic" embedding of numbers.

    References: Gorishniy et al. 2021, Revisiting Deep Learning Models for Tabular Data (FT-Transformer).
    """

    offsets: Tensor

    def __init__(
        self,
        *,
        dim: int,
        num_numbers: int,
        cardinalities: Sequence[int] = (),
        edges: Sequence[Sequence[float]] = (),
        depth: int = 1,
        num_heads: int = 4,
        dropout: float = 0.0,
        numbers: str = "piecewise",
    ) -> None:
        super().__init__()
        if numbers not in ("piecewise", "periodic"):
            raise ValueError(f"numbers is '{numbers}', expected 'piecewise' or 'periodic'")
        self.dim, self.num_numbers, self.num_categories = dim, num_numbers, len(cardinalities)
        columns = num_numbers + len(cardinalities)
        self.by_column = columns <= MAX_COLUMN_TOKENS
        offsets, num_levels = level_offsets(cardinalities)
        self.register_buffer("offsets", offsets, persistent=False)
        self.linear_numbers = nn.Linear(num_numbers + columns, dim)
        self.linear_levels = nn.Embedding(max(num_levels, 1), dim) if cardinalities else None
        if self.by_column:
            self._build_columns(edges, num_levels, numbers, columns)
        else:
            self.wide = MLP(num_numbers + columns, 4 * dim, dim, dropout=dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, num_heads, dropout=dropout) for _ in range(depth if self.by_column else 0)
        )
        self.norm = nn.LayerNorm(dim)
        self.linear_norm = nn.LayerNorm(dim)
        self.num_levels = num_summary_levels(num_levels)
        self.summary_dim = num_numbers + columns + self.num_levels

    def _build_columns(self, edges: Sequence[Sequence[float]], num_levels: int, numbers: str, columns: int) -> None:
        if self.num_numbers:
            piecewise = numbers == "piecewise"
            self.numbers = PiecewiseLinear(edges, self.dim) if piecewise else Periodic(self.num_numbers, self.dim)
        if self.num_categories:
            self.levels = nn.Embedding(num_levels, self.dim)
            nn.init.normal_(self.levels.weight, std=0.3)
        self.columns = nn.Parameter(torch.randn(columns, self.dim) * 0.1)
        self.missing = nn.Parameter(torch.randn(columns, self.dim) * 0.1)

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): scaled numbers, missing flags and levels, about unit length."""
        return summarise_cells(batch, self.offsets, self.num_levels)

    def forward(self, batch: FieldBatch) -> Tokens:
        """numbers (P, N), categories (P, K), missing (P, N + K) to (P, 1 + N + K, D)."""
        numbers = batch.values["numbers"].float()
        levels = batch.values["categories"].long() + self.offsets
        missing = batch.values["missing"]
        everything = torch.cat([numbers, missing.float()], dim=1)
        linear = self.linear_numbers(everything)
        if self.linear_levels is not None:
            linear = linear + self.linear_levels(levels).mean(dim=1)
        first = self.linear_norm(linear).unsqueeze(1)
        rest = self._column_tokens(numbers, levels, missing) if self.by_column else self.wide(everything).unsqueeze(1)
        for block in self.blocks:
            rest = block(rest, None)
        tokens = torch.cat([first, self.norm(rest)], dim=1)
        return Tokens(tokens, full_mask(tokens))

    def _column_tokens(self, numbers: Tensor, levels: Tensor, missing: Tensor) -> Tensor:
        """(P, N + K, D); a missing cell is its column's learned token."""
        parts = []
        if self.num_numbers:
            parts.append(self.numbers(numbers))
        if self.num_categories:
            parts.append(self.levels(levels))
        tokens = torch.where(missing.unsqueeze(-1), self.missing, torch.cat(parts, dim=1).to(self.missing.dtype))
        return tokens + self.columns
