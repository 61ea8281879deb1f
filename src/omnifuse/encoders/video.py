"""Videos to tokens. Shapes: P present rows, F frames of a row, N frames of all rows, S places, T tokens, D width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.encoders.image import PixelScale, conv_stages
from omnifuse.layers import MLP, ConvBlock, GatedBlock, TransformerBlock
from omnifuse.layers.masks import is_exporting
from omnifuse.layers.positions import grid_positions
from omnifuse.layers.time_tokens import time_tokens
from omnifuse.tokens import EvenFieldBatch, FieldBatch, Tokens

MAX_TOKENS = 32
# Places a side of the last map that a frame vector reads
GRID = 4
_SIDE = 8
_CHUNK = 512
# Periods of the waves of time, in lengths of a usual clip
_PERIODS = (4.0, 2.0, 1.0, 0.5, 0.25, 0.125)


class ClockEmbedding(nn.Module):
    """Seconds from the start of a clip to a vector, by waves around the length of the training clips.

    Args:
        dim: D.
    """

    length_s: Tensor
    rates: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("length_s", torch.ones(()))
        self.register_buffer("rates", 2 * math.pi / torch.tensor(_PERIODS), persistent=False)
        self.mlp = MLP(2 * len(_PERIODS) + 1, dim, dim)

    def initialise(self, time_s: Tensor, lengths: Tensor) -> None:
        """Measure the seconds (N,) of the frames of training clips: the mean time of their last frames."""
        if lengths.shape[0]:
            ends = time_s[lengths.cumsum(0) - 1].float()
            self.length_s.copy_(ends.mean().clamp(min=1e-3))

    def forward(self, time_s: Tensor) -> Tensor:
        """(N,) seconds to (N, D)."""
        # Clips many times as long as the usual one would only turn the waves around
        shares = (time_s.float() / self.length_s).clamp(0, 16).unsqueeze(1)
        angles = shares * self.rates
        out: Tensor = self.mlp(torch.cat([shares, angles.sin(), angles.cos()], dim=1))
        return out


class MotionThumbnails(nn.Module):
    """8 x 8 colour means of a clip: their mean, their deviation and their trend over time, standardised.

    The trend is what a mean and a deviation are blind to: played backwards, a clip has the same of these.

    Shape: a batch of pixels (N, H, W, 3) to (P, 576), about unit length.
    """

    mean: Tensor
    scale: Tensor
    width = 3 * 3 * _SIDE * _SIDE

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))

    def measure(self, batch: FieldBatch) -> Tensor:
        """Raw features (P, 576); pixels count from 0 to 1."""
        pixels = batch.values["pixels"]
        # Some frames at a time: all of them as floats would be four times what they are as bytes
        parts = [pixels] if is_exporting() else torch.split(pixels, _CHUNK)
        small = [_thumbnails(part) for part in parts]
        frames = torch.cat(small) if small else pixels.new_zeros((0, self.width // 3), dtype=torch.float32)
        padded, mask = batch.unpack(frames)
        weights = mask.unsqueeze(-1).float()
        count = weights.sum(dim=1).clamp(min=1)
        mean = (padded * weights).sum(dim=1) / count
        rest = (padded - mean.unsqueeze(1)) * weights
        spread = ((rest**2).sum(dim=1) / count + 1e-8).sqrt()
        places = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32).unsqueeze(-1)
        # -1 at the first frame of a clip to 1 at its last
        course = (2 * places / (count - 1).clamp(min=1).unsqueeze(1) - 1) * weights
        trend = (rest * course).sum(dim=1) / count
        return torch.cat([mean, spread, trend], dim=1)

    def initialise(self, batch: FieldBatch) -> None:
        """Measure training clips."""
        if batch.lengths.shape[0] > 1:
            found = self.measure(batch)
            self.mean.copy_(found.mean(dim=0))
            self.scale.copy_(found.std(dim=0).clamp(min=4e-3))

    def forward(self, batch: FieldBatch) -> Tensor:
        """Clips to features."""
        found = (self.measure(batch) - self.mean) / self.scale
        return found.clamp(-4, 4) / math.sqrt(self.width)


def _thumbnails(pixels: Tensor) -> Tensor:
    """(N, H, W, 3) to (N, 192)."""
    return F.adaptive_avg_pool2d(pixels.float().permute(0, 3, 1, 2) / 255, (_SIDE, _SIDE)).flatten(1)


def _with_changes(values: Tensor, batch: FieldBatch) -> Tensor:
    """Scaled pixels (N, 3, H, W) to (N, 6, H, W): beside them what changed since the frame before, 0 at the first."""
    lengths = batch.lengths
    if isinstance(batch, EvenFieldBatch):
        clips = batch.unpack(values)[0]
        changes = torch.cat([torch.zeros_like(clips[:, :1]), clips[:, 1:] - clips[:, :-1]], dim=1).flatten(0, 1)
        return torch.cat([values, changes], dim=1)
    changes = torch.zeros_like(values)
    changes[1:] = values[1:] - values[:-1]
    if values.shape[0]:
        changes[lengths.cumsum(0) - lengths] = 0
    return torch.cat([values, changes], dim=1).contiguous(memory_format=torch.channels_last)


class _VideoEncoder(nn.Module):
    """What both encoders measure and summarise."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.summary_dim = dim, MotionThumbnails.width
        self.thumbnail_dim = MotionThumbnails.width
        self.scale = PixelScale()
        self.clock = ClockEmbedding(dim)
        self.thumbnails = MotionThumbnails()

    def initialise(self, batch: FieldBatch) -> None:
        """Measure pixels and times of training rows."""
        pixels = batch.values["pixels"]
        # Neighbouring frames are nearly alike: every few of many tell as much
        self.scale.initialise(pixels[:: max(1, pixels.shape[0] // 4096)])
        self.clock.initialise(batch.values["time_s"], batch.lengths)
        self.thumbnails.initialise(batch)

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): standardised thumbnails of mean, deviation and trend over time."""
        out: Tensor = self.thumbnails(batch)
        return out

    def _nothing(self, batch: FieldBatch) -> Tokens:
        """Tokens of no row."""
        empty = torch.zeros((0, 1, self.dim), device=batch.lengths.device)
        return Tokens(empty, torch.zeros((0, 1), dtype=torch.bool, device=batch.lengths.device))


class FrameVideoEncoder(_VideoEncoder):
    """A residual convolutional net makes a vector of each frame, and attention over time joins them. The default.

    A frame is read together with what changed since the frame before, so that motion is there from the first layer on;
    its vector reads 4 x 4 places of the last map, so that it says where things are.

    Args:
        dim: D.
        height: H of the frames.
        width: W of the frames.
        depth: Blocks of attention over time.
        num_heads: Heads of attention.
        dropout: Of channels inside the convolutions, and of the blocks.
        gated: Use `GatedBlock` instead of `TransformerBlock`.

    References: He et al. 2016, Deep Residual Learning (frames); Wang et al. 2016, Temporal Segment Networks (frames
        evenly spaced, differences between them); Neimark et al. 2021, Video Transformer Network (attention over frame
        vectors).
    """

    def __init__(
        self,
        *,
        dim: int,
        height: int,
        width: int,
        depth: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
        gated: bool = False,
    ) -> None:
        super().__init__(dim)
        stages = conv_stages(max(height, width) // 2, dim)
        self.stem = nn.Conv2d(6, stages[0][0], 5, 2, 2)
        blocks, channels = [], stages[0][0]
        rows, columns = (height + 1) // 2, (width + 1) // 2
        for wider, stride in stages:
            blocks.append(ConvBlock(channels, wider, stride=(stride, stride), dropout=dropout))
            channels, rows, columns = wider, -(-rows // stride), -(-columns // stride)
        self.blocks = nn.ModuleList(blocks)
        self.grid = (min(rows, GRID), min(columns, GRID))
        self.flatten = nn.Linear(dim * self.grid[0] * self.grid[1], dim)
        self.frame_norm = nn.LayerNorm(dim)
        block = GatedBlock if gated else TransformerBlock
        self.over_time = nn.ModuleList(block(dim, num_heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, batch: FieldBatch) -> Tokens:
        """Pixels (N, H, W, 3) and time_s (N,) to (P, T, D), T <= 32: a token a frame, or of neighbouring ones."""
        if not batch.lengths.shape[0]:
            return self._nothing(batch)
        maps = F.relu(self.stem(_with_changes(self.scale(batch.values["pixels"]), batch)))
        for block in self.blocks:
            maps = block(maps)
        if maps.shape[2:] != self.grid:
            maps = F.adaptive_avg_pool2d(maps, self.grid)
        frames = self.frame_norm(self.flatten(maps.flatten(1))) + self.clock(batch.values["time_s"])
        tokens, mask = batch.unpack(frames)
        for layer in self.over_time:
            tokens = layer(tokens, mask)
        return Tokens(*time_tokens(self.norm(tokens), mask, MAX_TOKENS))


class _SpaceTimeBlock(nn.Module):
    """Attention among the places of a frame, then among the frames at a place."""

    def __init__(self, dim: int, num_heads: int, *, dropout: float, gated: bool) -> None:
        super().__init__()
        block = GatedBlock if gated else TransformerBlock
        self.space = block(dim, num_heads, dropout=dropout)
        self.time = block(dim, num_heads, dropout=dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(P, F, S, D) and (P, F) to the same."""
        num_rows, num_frames, num_places, dim = tokens.shape
        if is_exporting():
            # Rows of one length: every frame is real
            tokens = self.space(tokens.flatten(0, 1), None).view(num_rows, num_frames, num_places, dim)
        else:
            frames = tokens[mask]
            tokens = tokens.masked_scatter(mask[:, :, None, None], self.space(frames, None).to(tokens.dtype))
        # (P, F, S, D) -> (P * S, F, D): each place is a sequence of its own
        across = tokens.transpose(1, 2).reshape(num_rows * num_places, num_frames, dim)
        across = self.time(across, mask.repeat_interleave(num_places, dim=0))
        out: Tensor = across.view(num_rows, num_places, num_frames, dim).transpose(1, 2)
        return out


class SpaceTimeVideoEncoder(_VideoEncoder):
    """A transformer that looks across each frame and along time in turn; prefer it for plentiful videos.

    Args:
        dim: D.
        height: H of the frames.
        width: W of the frames.
        depth: Blocks, each of both attentions.
        num_heads: Heads of attention.
        dropout: Of the blocks.
        gated: Use `GatedBlock` instead of `TransformerBlock`.

    References: Bertasius et al. 2021, Is Space-Time Attention All You Need?, section 3 (divided attention, here space
        first), behind a convolutional stem; Arnab et al. 2021, ViViT.
    """

    positions: Tensor

    def __init__(
        self,
        *,
        dim: int,
        height: int,
        width: int,
        depth: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
        gated: bool = False,
    ) -> None:
        super().__init__(dim)
        # Places of 8 x 8 pixels, of 16 x 16 where the frames are large
        halvings = 3 if max(height, width) <= 80 else 4
        widths = [6, *[max(dim >> (halvings - step), 8) for step in range(1, halvings)], dim]
        self.stem = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 3, 2, 1) for i in range(halvings))
        rows, columns = -(-height // 2**halvings), -(-width // 2**halvings)
        self.register_buffer("positions", 0.1 * grid_positions(rows, columns, dim), persistent=False)
        self.blocks = nn.ModuleList(_SpaceTimeBlock(dim, num_heads, dropout=dropout, gated=gated) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, batch: FieldBatch) -> Tokens:
        """Pixels (N, H, W, 3) and time_s (N,) to (P, T, D), T <= 32: the mean of a frame, or of neighbouring ones."""
        if not batch.lengths.shape[0]:
            return self._nothing(batch)
        maps = _with_changes(self.scale(batch.values["pixels"]), batch)
        for number, layer in enumerate(self.stem):
            maps = layer(maps if number == 0 else F.relu(maps))
        clock = self.clock(batch.values["time_s"]).unsqueeze(1)
        # (N, D, rows, columns) -> (P, F, S, D)
        tokens, mask = batch.unpack(maps.flatten(2).transpose(1, 2) + self.positions + clock)
        for block in self.blocks:
            tokens = block(tokens, mask)
        return Tokens(*time_tokens(self.norm(tokens).mean(dim=2), mask, MAX_TOKENS))
