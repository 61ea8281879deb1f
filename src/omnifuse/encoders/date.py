"""Moments to one token. Shapes: P present rows, D width."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from omnifuse.layers import MLP
from omnifuse.layers.masks import full_mask
from omnifuse.tokens import FieldBatch, Tokens

_DAY = 86_400.0
_YEAR_DAYS = 365.2425
NUM_FEATURES = 14
# A cycle that the training rows do not show this many times names single days instead: they would be learnt by heart
_REPEATS = 2


class DateEncoder(nn.Module):
    """Hour, weekday, day of the year as circles, and the time elapsed since the middle of the training rows.

    A circle is read where the training rows span its period twice, the elapsed time where they span two years: on a
    week of rows the day of the year would only name each day. The elapsed time is held at the ends of the training
    span: a network does not know what lies beyond.

    Args:
        dim: D.
        earliest: First training second (UTC).
        latest: Last training second.
        median: Middle training second.
        dropout: Of the hidden layer.
    """

    periods: Tensor
    circles: Tensor
    turns: Tensor
    read: Tensor

    def __init__(self, *, dim: int, earliest: int = 0, latest: int = 0, median: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim, self.summary_dim = dim, NUM_FEATURES
        self.earliest, self.latest, self.median = earliest, latest, median
        self.mlp = MLP(NUM_FEATURES, dim, dim, dropout=dropout)
        self.linear = nn.Linear(NUM_FEATURES, dim)
        self.norm = nn.LayerNorm(dim)
        # Seconds of a day, days of a week, ten-thousandths of the days of a year
        self.register_buffer("periods", torch.tensor([86_400, 7, 3_652_425]), persistent=False)
        self.register_buffer("circles", torch.tensor([0, 0, 0, 1, 2, 2]), persistent=False)
        turns = torch.tensor([1.0, 2.0, 3.0, 1.0, 1.0, 2.0]) * 2 * math.pi
        self.register_buffer("turns", turns, persistent=False)
        self.register_buffer("read", self._read(), persistent=False)

    def _read(self) -> Tensor:
        """(14,) 1 where the training span holds a feature's period twice, else 0."""
        days = (self.latest - self.earliest) / _DAY
        circles = [days >= _REPEATS * period for period in (1, 1, 1, 7, _YEAR_DAYS, _YEAR_DAYS)]
        return torch.tensor([*circles, *circles, days >= _REPEATS * 7, days >= _REPEATS * _YEAR_DAYS]).float()

    def features(self, seconds: Tensor) -> Tensor:
        """(P,) int64 seconds to (P, 14) numbers between about -1 and 1."""
        days = torch.div(seconds, 86_400, rounding_mode="floor")
        # (P, 3) shares of the day, week and year that have passed; whole numbers up to the division lose nothing
        marks = torch.stack([seconds, days + 3, days * 10_000], dim=1).remainder(self.periods)
        passed = marks / self.periods
        weekend = marks[:, 1:2] >= 5
        elapsed = (seconds.clamp(self.earliest, self.latest) - self.median) / max(self.latest - self.earliest, 1)
        angles = passed.index_select(1, self.circles) * self.turns
        return torch.cat([angles.sin(), angles.cos(), weekend, elapsed.unsqueeze(1)], dim=1) * self.read

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): the circles and the elapsed time, about unit length."""
        return self.features(batch.values["seconds"].long()) / math.sqrt(NUM_FEATURES)

    def forward(self, batch: FieldBatch) -> Tokens:
        """seconds (P,) to (P, 1, D)."""
        numbers = self.features(batch.values["seconds"].long())
        tokens = self.norm(self.linear(numbers) + self.mlp(numbers)).unsqueeze(1)
        return Tokens(tokens, full_mask(tokens))
