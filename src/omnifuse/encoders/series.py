"""Sensor series to tokens. Shapes: P present rows, F steps, C channels, T tokens, D width."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers import MLP, Dropout, GatedBlock, TransformerBlock
from omnifuse.layers.time_tokens import time_tokens
from omnifuse.tokens import FieldBatch, Tokens

MAX_TOKENS = 16
MAX_PATCHES, SHORTEST_PATCH = 32, 4
NUM_WAVES = 6
# Statistics of each channel over one stretch of time, and of the whole series
PER_CHANNEL, PER_SERIES = 7, 2
LAST_SHARE = 0.25


class SeriesStatistics(nn.Module):
    """What classical monitors read: statistics of each channel over the whole series and over its last quarter.

    Mean, deviation, smallest, largest, last, slope and share observed; then the logarithms of the number of steps and
    of the time they span. Standardised by the training series. What was not observed counts in none of them.

    Args:
        num_channels: C.
        step_s: Usual time between two steps.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_channels: int, step_s: float) -> None:
        super().__init__()
        self.step_s = step_s
        self.width = 2 * PER_CHANNEL * num_channels + PER_SERIES
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))

    def measure(self, values: Tensor, time_s: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """(P, F, C), (P, F), (P, F, C) and (P, F) to raw statistics (P, S)."""
        end = time_s.masked_fill(~mask, -math.inf).amax(dim=1, keepdim=True)
        start = time_s.masked_fill(~mask, math.inf).amin(dim=1, keepdim=True)
        span = end - start
        late = mask & (time_s >= end - LAST_SHARE * span)
        # Time from 0 to 1 over the series, so that a slope is the change over the whole of it
        place = (time_s - start) / span.clamp(min=self.step_s)
        parts = [_moments(values, place, observed, real) for real in (mask, late)]
        sizes = torch.stack([mask.sum(dim=1).log1p(), (span.squeeze(1) / self.step_s).log1p()], dim=1)
        return torch.cat([*parts, sizes.to(values.dtype)], dim=1)

    def initialise(self, measured: Tensor) -> None:
        """Take over mean and deviation of the (P, S) statistics of training series."""
        if measured.shape[0] > 1:
            self.mean.copy_(measured.mean(dim=0))
            self.scale.copy_(measured.std(dim=0).clamp(min=1e-3))

    def forward(self, values: Tensor, time_s: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """(P, S), limited to 5 deviations."""
        return ((self.measure(values, time_s, observed, mask) - self.mean) / self.scale).clamp(-5, 5)


def _moments(values: Tensor, place: Tensor, observed: Tensor, real: Tensor) -> Tensor:
    """(P, 7 C) statistics of what was observed at the real steps; 0 where nothing was."""
    seen = observed & real.unsqueeze(-1)
    weights = seen.to(values.dtype)
    count = weights.sum(dim=1)
    some = count > 0
    divisor = count.clamp(min=1)
    mean = (values * weights).sum(dim=1) / divisor
    apart = (values - mean.unsqueeze(1)) * weights
    spread = ((apart**2).sum(dim=1) / divisor).clamp(min=1e-8).sqrt()
    low = values.masked_fill(~seen, math.inf).amin(dim=1).masked_fill(~some, 0.0)
    high = values.masked_fill(~seen, -math.inf).amax(dim=1).masked_fill(~some, 0.0)
    order = torch.arange(1, values.shape[1] + 1, device=values.device)
    latest = (seen * order[None, :, None]).argmax(dim=1, keepdim=True)
    last = values.gather(1, latest).squeeze(1).masked_fill(~some, 0.0)
    times = place.unsqueeze(-1) * weights
    centred = (place.unsqueeze(-1) - (times.sum(dim=1) / divisor).unsqueeze(1)) * weights
    slope = (centred * apart).sum(dim=1) / (centred**2).sum(dim=1).clamp(min=1e-3)
    share = count / real.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.cat([mean, spread * some, low, high, last, slope, share], dim=1)


class AgeEmbedding(nn.Module):
    """How long before the end something was: sines and cosines of the logarithm of its age in usual steps.

    On a logarithmic scale seconds ago and days ago are told apart equally well, and any spacing of steps is read.

    Shape: (P, T) seconds, <= 0, to (P, T, D).
    """

    rates: Tensor

    def __init__(self, dim: int, step_s: float) -> None:
        super().__init__()
        self.step_s = step_s
        self.register_buffer("rates", math.pi * 2.0 ** (torch.arange(NUM_WAVES) - 3.0), persistent=False)
        self.linear = nn.Linear(2 * NUM_WAVES + 1, dim)

    def forward(self, time_s: Tensor) -> Tensor:
        """Embed."""
        age = (-time_s / self.step_s).clamp(min=0).log1p().unsqueeze(-1)
        angles = age * self.rates
        out: Tensor = self.linear(torch.cat([angles.sin(), angles.cos(), age / 4], dim=-1))
        return out


class _SeriesEncoder(nn.Module, ABC):
    """What both encoders share: unpacking, statistics as the first token, and what is fed to them at each step."""

    def __init__(self, *, dim: int, num_channels: int, step_s: float, dropout: float) -> None:
        super().__init__()
        self.dim, self.num_channels, self.step_s = dim, num_channels, step_s
        self.num_inputs = 2 * num_channels + 1
        self.statistics = SeriesStatistics(num_channels, step_s)
        self.summary_dim = self.statistics.width
        self.statistics_dropout = Dropout(dropout)
        self.statistics_token = MLP(self.statistics.width, dim, dim, dropout=dropout)
        self.statistics_norm = nn.LayerNorm(dim)
        self.age = AgeEmbedding(dim, step_s)
        self.norm = nn.LayerNorm(dim)

    def _padded(self, batch: FieldBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values (P, F, C), times (P, F), observed (P, F, C) and mask (P, F)."""
        values, mask = batch.unpack(batch.values["values"].float())
        time_s, _ = batch.unpack(batch.values["time_s"].float())
        observed, _ = batch.unpack(batch.values["observed"])
        return values, time_s, observed, mask

    def _inputs(self, values: Tensor, time_s: Tensor, observed: Tensor, mask: Tensor) -> Tensor:
        """(P, F, 2 C + 1): values, what was observed, and the logarithm of the time since the step before."""
        step = F.pad(time_s[:, 1:] - time_s[:, :-1], (1, 0)) / self.step_s
        inputs = torch.cat([values, observed.to(values.dtype), step.clamp(min=0).log1p().unsqueeze(-1)], dim=2)
        return inputs * mask.unsqueeze(-1)

    def initialise(self, batch: FieldBatch) -> None:
        """Measure training series."""
        if batch.lengths.shape[0]:
            self.statistics.initialise(self.statistics.measure(*self._padded(batch)))

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): standardised statistics, about unit length."""
        if not batch.lengths.shape[0]:
            return batch.values["values"].new_zeros((0, self.summary_dim))
        out: Tensor = self.statistics(*self._padded(batch)) / math.sqrt(self.summary_dim)
        return out

    def forward(self, batch: FieldBatch) -> Tokens:
        """values (sum F, C), time_s (sum F,), observed (sum F, C) to (P, T, D); the first token is the statistics."""
        padded = self._padded(batch)
        values, time_s, _, mask = padded
        if not values.shape[0]:
            return Tokens(values.new_zeros((0, 1, self.dim)), mask.new_zeros((0, 1)))
        numbers = self.statistics(*padded)
        whole = self.statistics_norm(self.statistics_token(self.statistics_dropout(numbers))).unsqueeze(1)
        tokens, kept = self._over_time(self._inputs(*padded), time_s, mask)
        ones = kept.new_ones((kept.shape[0], 1))
        return Tokens(torch.cat([whole, tokens], dim=1), torch.cat([ones, kept], dim=1))

    @abstractmethod
    def _over_time(self, inputs: Tensor, time_s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(P, F, 2 C + 1), (P, F) and (P, F) to tokens (P, T, D) and their mask."""


class ConvSeriesEncoder(_SeriesEncoder):
    """Strided convolutions over time, at most 16 tokens, beside a token of statistics. The default.

    Args:
        dim: D.
        num_channels: C.
        step_s: Usual time between two steps.
        dropout: Inside the blocks, and of the statistics.
    """

    def __init__(self, *, dim: int, num_channels: int, step_s: float = 1.0, dropout: float = 0.0) -> None:
        super().__init__(dim=dim, num_channels=num_channels, step_s=step_s, dropout=dropout)
        self.stem = nn.Linear(self.num_inputs, dim)
        self.blocks = nn.ModuleList(_TimeBlock(dim, stride=stride, dropout=dropout) for stride in (1, 2, 2))

    def _over_time(self, inputs: Tensor, time_s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        steps = self.stem(inputs) * mask.unsqueeze(-1)
        for block in self.blocks:
            stride = int(block.stride)  # type: ignore[arg-type]
            mask, time_s = mask[:, ::stride], time_s[:, ::stride]
            steps = block(steps, mask)
        # The times go along, so that each token knows the mean time of what it holds
        joined, kept = time_tokens(torch.cat([steps, time_s.unsqueeze(-1)], dim=2), mask, MAX_TOKENS)
        tokens = self.norm(joined[..., :-1] + self.age(joined[..., -1]))
        return tokens * kept.unsqueeze(-1), kept


class _TimeBlock(nn.Module):
    """Two convolutions over 5 and 3 steps, added to every `stride`-th step of the input."""

    def __init__(self, dim: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv1d(dim, dim, 5, stride=stride, padding=2, bias=False)
        self.first_norm = nn.LayerNorm(dim)
        self.second = nn.Conv1d(dim, dim, 3, padding=1, bias=False)
        self.second_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        """(P, F, D) and the mask of the result (P, F / stride) to (P, F / stride, D); padding becomes 0."""
        real = mask.unsqueeze(-1)
        inner = F.relu(self.first_norm(self.first(steps.transpose(1, 2)).transpose(1, 2))) * real
        inner = self.second_norm(self.second(inner.transpose(1, 2)).transpose(1, 2))
        return F.relu(steps[:, :: self.stride] + self.dropout(inner)) * real


class PatchSeriesEncoder(_SeriesEncoder):
    """A transformer over patches of consecutive steps, at most 32; prefer it for long series with distant relations.

    Patches are counted from the end, so that the latest steps always fill one. A gap is a flag of its step.

    Args:
        dim: D.
        num_channels: C.
        step_s: Usual time between two steps.
        max_steps: Longest series.
        depth: Blocks.
        num_heads: Heads of attention.
        dropout: Of the blocks, and of the statistics.
        gated: Use `GatedBlock` instead of `TransformerBlock`.

    References: Nie et al. 2023, A Time Series is Worth 64 Words (PatchTST), section 3.1. Changed: channels are read
        together, patches do not overlap, times are embedded instead of positions.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_channels: int,
        step_s: float = 1.0,
        max_steps: int = 512,
        depth: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
        gated: bool = False,
    ) -> None:
        super().__init__(dim=dim, num_channels=num_channels, step_s=step_s, dropout=dropout)
        self.patch = max(SHORTEST_PATCH, math.ceil(max_steps / MAX_PATCHES))
        # One flag more: a step before the start of the series is not one that saw nothing
        self.stem = nn.Linear(self.patch * (self.num_inputs + 1), dim)
        block = GatedBlock if gated else TransformerBlock
        self.blocks = nn.ModuleList(block(dim, num_heads, dropout=dropout) for _ in range(depth))

    def _over_time(self, inputs: Tensor, time_s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        lengths = mask.sum(dim=1)
        counts = torch.div(lengths + self.patch - 1, self.patch, rounding_mode="floor")
        # The longest row fills the batch
        num_patches = (mask.shape[1] + self.patch - 1) // self.patch
        # (P, T x patch) step of each place of a patch; a row's first patch may begin before its first step
        place = torch.arange(num_patches * self.patch, device=mask.device)[None, :]
        index = place + (lengths - counts * self.patch)[:, None]
        real = ((index >= 0) & (index < lengths[:, None])).unsqueeze(-1)
        index = index.clamp(min=0, max=inputs.shape[1] - 1)
        whole = torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=2)
        steps = whole.gather(1, index.unsqueeze(-1).expand(-1, -1, whole.shape[2])) * real
        times = time_s.gather(1, index)[:, self.patch - 1 :: self.patch]
        kept = torch.arange(num_patches, device=mask.device)[None, :] < counts[:, None]
        tokens = self.stem(steps.reshape(len(steps), num_patches, -1)) + self.age(times)
        tokens = tokens * kept.unsqueeze(-1)
        for block in self.blocks:
            tokens = block(tokens, kept)
        return self.norm(tokens), kept
