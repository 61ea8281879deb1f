"""How the bands of a sound swell and fade. Shapes: P rows, F frames, C columns, M mel bands, B broad bands, S features.

Rain, a clock, a siren and speech may have one mean spectrum; they differ in how fast their bands come and go. That, and
the loudest moment of each band, stands beside the statistics of `SoundStatistics` in what shallow heads read.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_BANDS = 8
# Frames of a window and between windows: 1.28 s and 0.32 s at steps of 10 ms
WINDOW, STEP = 128, 32
# First bins of the rates and the end: 0.8 to 42 Hz at steps of 10 ms, each group wider than the one before
RATE_EDGES = (1, 2, 3, 5, 8, 13, 21, 34, 55)
# Of the variance of a band's logarithm: slower or weaker movement reads as stillness
FLOOR = 1e-3
# Shares in the squared length of the features
RATE_SHARE, PEAK_SHARE = 0.6, 0.4
LOWEST = -1e4


class SoundTexture(nn.Module):
    """The modulation spectrum of broad bands, and the maximum over time of every mel band.

    The logarithm of the power, in 8 groups of rates, of the log-mel envelopes of 8 broad bands without their mean, over
    Hann windows of 128 frames; a shorter sound is one window, filled up with its mean. Standardised by the training
    sounds. The same for a row alone as among longer rows.

    Args:
        num_mels: M; other columns are not read.

    References: McDermott and Simoncelli 2011, Sound Texture Perception via Statistics of the Auditory Periphery.
    """

    pooling: Tensor
    filters: Tensor
    groups: Tensor
    mean: Tensor
    scale: Tensor
    shares: Tensor

    def __init__(self, num_mels: int) -> None:
        super().__init__()
        self.num_mels = num_mels
        self.num_bands = min(NUM_BANDS, num_mels)
        owner = torch.arange(num_mels) * self.num_bands // num_mels
        pooling = F.one_hot(owner, self.num_bands).float()
        self.register_buffer("pooling", pooling / pooling.sum(dim=0), persistent=False)
        self.register_buffer("filters", _filters(), persistent=False)
        self.register_buffer("groups", _groups(), persistent=False)
        rates = self.num_bands * (len(RATE_EDGES) - 1)
        self.width = rates + num_mels
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))
        shares = [math.sqrt(RATE_SHARE / rates)] * rates + [math.sqrt(PEAK_SHARE / num_mels)] * num_mels
        self.register_buffer("shares", torch.tensor(shares), persistent=False)

    def measure(self, frames: Tensor, mask: Tensor) -> Tensor:
        """(P, F, C) and (P, F) to raw features (P, S)."""
        log_mel, real = frames[..., : self.num_mels], mask.unsqueeze(-1)
        count = mask.sum(dim=1)
        bands = log_mel @ self.pooling
        mean = (bands * real).sum(dim=1) / count.clamp(min=1).unsqueeze(-1)
        # (P, F, B) -> (P x B, 1, F + WINDOW) -> (P, B, 2 x bins, windows)
        envelopes = F.pad(((bands - mean.unsqueeze(1)) * real).transpose(1, 2), (0, WINDOW))
        waves = F.conv1d(envelopes.flatten(0, 1).unsqueeze(1), self.filters, stride=STEP).float()
        powers = waves.square().view(-1, self.num_bands, *waves.shape[1:])
        # The windows that a row needs to be covered: the first, and those that hold frames no earlier one holds
        starts = torch.arange(powers.shape[-1], device=frames.device) * STEP
        needed = (starts < (count - (WINDOW - STEP)).clamp(min=1).unsqueeze(-1)).to(powers)
        # (P, B, 2 x bins)
        power = (powers * needed[:, None, None, :]).sum(dim=-1) / needed.sum(dim=1)[:, None, None]
        rates = (power @ self.groups + FLOOR).log()
        peaks = log_mel.masked_fill(~real, LOWEST).amax(dim=1) if frames.shape[1] else log_mel.sum(dim=1)
        return torch.cat([rates.flatten(1), peaks], dim=1)

    def initialise(self, frames: Tensor, mask: Tensor) -> None:
        """Measure (P, F, C) training sounds."""
        if frames.shape[0] > 1:
            found = self.measure(frames, mask)
            self.mean.copy_(found.mean(dim=0))
            self.scale.copy_(found.std(dim=0).clamp(min=1e-3))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """(P, F, C) and (P, F) to (P, S) of about unit length, limited to 5 deviations."""
        if not frames.shape[0]:
            return frames.new_zeros((0, self.width))
        return ((self.measure(frames, mask) - self.mean) / self.scale).clamp(-5, 5) * self.shares


def _filters() -> Tensor:
    """(2 x bins, 1, WINDOW) cosines and sines under a Hann window, whose squares sum to the share of the variance."""
    time = torch.arange(WINDOW, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * time / WINDOW)
    window = window / window.square().sum().sqrt()
    angles = 2 * math.pi / WINDOW * torch.arange(RATE_EDGES[0], RATE_EDGES[-1], dtype=torch.float64)[:, None] * time
    return (torch.cat([angles.cos(), angles.sin()]) * window).unsqueeze(1).float()


def _groups() -> Tensor:
    """(2 x bins, groups): sums of cosine and sine, means over the bins of a group."""
    bins = torch.arange(RATE_EDGES[0], RATE_EDGES[-1]).repeat(2)
    pairs = itertools.pairwise(RATE_EDGES)
    return torch.stack([((bins >= low) & (bins < high)).float() / (high - low) for low, high in pairs], dim=1)
