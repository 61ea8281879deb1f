"""Numbers and categories to one token a member of an MLP ensemble. Shapes: P present rows, N numbers, K categories,
E members, D width."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.encoders.table import (
    MAX_COLUMN_TOKENS,
    PiecewiseLinear,
    level_offsets,
    num_summary_levels,
    summarise_cells,
)
from omnifuse.layers import BatchEnsembleLinear, Dropout
from omnifuse.layers.masks import full_mask
from omnifuse.tokens import FieldBatch, Tokens

NUM_MEMBERS = 16
# Width of a column's embedding, and of the hidden layers in units of D
COLUMN_DIM, HIDDEN = 8, 4


class TableMLPEncoder(nn.Module):
    """An ensemble of MLPs with shared weights, each member a token of its own.

    Prefer it to the column transformer where a table stands alone or decides: members err apart, and the mean of their
    answers is what makes ensembles of trees strong. They stay apart up to the head: a task gives the field one head a
    member (`num_members`), trains each by itself, and answers with the mean of their probabilities.

    Args:
        dim: D.
        num_numbers: N.
        cardinalities: Levels of each category column (K of them).
        edges: Bin ends of each number column.
        depth: Hidden layers, at least one.
        dropout: Of the hidden layers.
        num_members: E.

    Shape: numbers (P, N), categories (P, K), missing (P, N + K) to (P, E, D).

    References: Gorishniy et al. 2024, TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling
    (arXiv:2410.24210). Here members share each batch, numbers are read as they are beside their piecewise-linear
    embeddings, and tables wider than 96 columns go without the embeddings.
    """

    offsets: Tensor

    def __init__(
        self,
        *,
        dim: int,
        num_numbers: int,
        cardinalities: Sequence[int] = (),
        edges: Sequence[Sequence[float]] = (),
        depth: int = 2,
        dropout: float = 0.0,
        num_members: int = NUM_MEMBERS,
    ) -> None:
        super().__init__()
        self.dim, self.num_members = dim, num_members
        columns = num_numbers + len(cardinalities)
        offsets, num_levels = level_offsets(cardinalities)
        self.register_buffer("offsets", offsets, persistent=False)
        self.numbers = PiecewiseLinear(edges, COLUMN_DIM) if num_numbers > 0 and columns <= MAX_COLUMN_TOKENS else None
        self.levels = nn.Embedding(num_levels, COLUMN_DIM) if cardinalities else None
        width = num_numbers + columns + COLUMN_DIM * len(cardinalities)
        width += COLUMN_DIM * num_numbers * (self.numbers is not None)
        widths = [width] + [HIDDEN * dim] * max(depth, 1)
        self.hidden = nn.ModuleList(
            BatchEnsembleLinear(one, two, num_members, apart=number == 0)
            for number, (one, two) in enumerate(itertools.pairwise(widths))
        )
        self.dropout = Dropout(dropout)
        self.last = BatchEnsembleLinear(widths[-1], dim, num_members)
        self.num_levels = num_summary_levels(num_levels)
        self.summary_dim = num_numbers + columns + self.num_levels

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): scaled numbers, missing flags and levels, about unit length."""
        return summarise_cells(batch, self.offsets, self.num_levels)

    def _features(self, batch: FieldBatch) -> Tensor:
        """(P, width): numbers, missing flags, embeddings of numbers (zero where missing) and of levels."""
        numbers, missing = batch.values["numbers"].float(), batch.values["missing"]
        parts = [numbers, missing.float()]
        if self.numbers is not None:
            embedded = F.relu(self.numbers(numbers)) * ~missing[:, : numbers.shape[1], None]
            parts.append(embedded.flatten(1))
        if self.levels is not None:
            parts.append(self.levels(batch.values["categories"].long() + self.offsets).flatten(1))
        return torch.cat(parts, dim=1)

    def forward(self, batch: FieldBatch) -> Tokens:
        """The tokens of the present rows; all of them are real."""
        features = self._features(batch)
        values = features.unsqueeze(1).expand(-1, self.num_members, -1)
        for layer in self.hidden:
            values = self.dropout(F.relu(layer(values)))
        tokens = self.last(values)
        return Tokens(tokens, full_mask(tokens))
