"""Pictures to tokens. Shapes: P present rows, H W height and width, C channels, T tokens, D width."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.encoders.colours import Colours
from omnifuse.layers import ConvBlock, GatedBlock, TransformerBlock
from omnifuse.layers.masks import full_mask
from omnifuse.layers.positions import grid_positions
from omnifuse.tokens import FieldBatch, Tokens, gathered, group_means


class PixelScale(nn.Module):
    """uint8 pixels to channels of about mean 0 and deviation 1, by statistics of the training pictures."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("scale", torch.full((3,), 0.25))

    def initialise(self, pixels: Tensor) -> None:
        """Measure (P, H, W, 3) training pixels."""
        if pixels.shape[0]:
            values = pixels.reshape(-1, 3).float() / 255
            self.mean.copy_(values.mean(dim=0))
            self.scale.copy_(values.std(dim=0).clamp(min=0.02))

    def forward(self, pixels: Tensor) -> Tensor:
        """(P, H, W, 3) uint8 to (P, 3, H, W) in channels-last memory."""
        # As whole lines of pixels: three numbers at a time are too few for the processor's wide loads
        lines = pixels.flatten(2).float()
        slope = (1 / (255 * self.scale)).repeat(pixels.shape[2])
        start = (-self.mean / self.scale).repeat(pixels.shape[2])
        return torch.addcmul(start, lines, slope).view(pixels.shape).permute(0, 3, 1, 2)


def conv_stages(side: int, dim: int) -> list[tuple[int, int]]:
    """(channels, stride) of the blocks after the stem: halve until about 4 places are left a side."""
    stages: list[tuple[int, int]] = []
    channels = max(dim // 4, 16)
    while True:
        stages.append((min(channels, dim), 1 if not stages else 2))
        if stages[-1][1] == 2:
            side = (side + 1) // 2
        if side <= 4:
            break
        channels *= 2
    return stages if stages[-1][0] == dim else [*stages, (dim, 1)]


class Thumbnail(nn.Module):
    """8 x 8 colour means of a picture, standardised by the training pictures: what a linear model reads.

    Shape: scaled pixels (P, 3, H, W) to (P, 192), about unit length.
    """

    mean: Tensor
    scale: Tensor
    width = 3 * 8 * 8

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))

    def initialise(self, values: Tensor) -> None:
        """Measure scaled training pixels."""
        if values.shape[0] > 1:
            found = F.adaptive_avg_pool2d(values, (8, 8)).flatten(1)
            self.mean.copy_(found.mean(dim=0))
            self.scale.copy_(found.std(dim=0).clamp(min=1e-2))

    def forward(self, values: Tensor) -> Tensor:
        """Scaled pixels to features."""
        found = F.adaptive_avg_pool2d(values, (8, 8)).flatten(1)
        return ((found - self.mean) / self.scale).clamp(-4, 4) / math.sqrt(self.width)


class ConvImageEncoder(nn.Module):
    """A residual convolutional net; its last map becomes at most 16 tokens. The default below some 10,000 pictures.

    Args:
        dim: D, channels of the last block.
        height: H of the pictures.
        width: W of the pictures.
        dropout: Of channels inside the blocks.

    References: He et al. 2016, Deep Residual Learning, with layer norm over channels instead of batch norm.
    """

    def __init__(self, *, dim: int, height: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.scale = PixelScale()
        self.thumbnail, self.colours = Thumbnail(), Colours()
        self.thumbnail_dim = Thumbnail.width
        self.summary_dim = self.thumbnail_dim + Colours.width
        stages = conv_stages(max(height, width) // 2, dim)
        self.stem = nn.Conv2d(3, stages[0][0], 5, 2, 2)
        blocks, channels = [], stages[0][0]
        for wider, stride in stages:
            blocks.append(ConvBlock(channels, wider, stride=(stride, stride), dropout=dropout))
            channels = wider
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim)

    def initialise(self, batch: FieldBatch) -> None:
        """Measure the pixels of training rows."""
        self.scale.initialise(batch.values["pixels"])
        self.thumbnail.initialise(self.scale(batch.values["pixels"]))
        self.colours.initialise(batch.values["pixels"])

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): thumbnail and shares of colours, means where a row has several pictures."""
        pixels = batch.values["pixels"]
        found = torch.cat([self.thumbnail(self.scale(pixels)), self.colours(pixels)], dim=1)
        return group_means(found, batch.lengths)

    def forward(self, batch: FieldBatch) -> Tokens:
        """Pixels (N, H, W, 3) of K pictures at most a row to (P, K T, D), T <= 16."""
        maps = F.relu(self.stem(self.scale(batch.values["pixels"])))
        for block in self.blocks:
            maps = block(maps)
        if maps.shape[2] * maps.shape[3] > 16:
            maps = F.adaptive_avg_pool2d(maps, (min(maps.shape[2], 4), min(maps.shape[3], 4)))
        tokens = self.norm(maps.flatten(2).transpose(1, 2))
        mask = full_mask(tokens)
        return gathered(Tokens(tokens, mask), batch.lengths)


class TransformerImageEncoder(nn.Module):
    """A vision transformer behind a convolutional stem that makes patches of 4 x 4 or 8 x 8 pixels.

    Args:
        dim: D.
        height: H of the pictures.
        width: W of the pictures.
        depth: Blocks.
        num_heads: Heads of attention.
        dropout: Of the blocks.
        gated: Use `GatedBlock` instead of `TransformerBlock`.

    References: Xiao et al. 2021, Early Convolutions Help Transformers See Better.
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
        super().__init__()
        self.dim = dim
        self.scale = PixelScale()
        halvings = 2 if max(height, width) <= 40 else 3
        widths = [3, *[max(dim >> (halvings - step), 8) for step in range(1, halvings)], dim]
        self.stem = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        rows, columns = -(-height // 2**halvings), -(-width // 2**halvings)
        self.register_buffer("positions", 0.1 * grid_positions(rows, columns, dim), persistent=False)
        block = GatedBlock if gated else TransformerBlock
        self.blocks = nn.ModuleList(block(dim, num_heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def initialise(self, batch: FieldBatch) -> None:
        """Measure the pixels of training rows."""
        self.scale.initialise(batch.values["pixels"])

    def forward(self, batch: FieldBatch) -> Tokens:
        """Pixels (N, H, W, 3) of K pictures at most a row to (P, K T, D), a token a patch."""
        maps = self.scale(batch.values["pixels"])
        for number, layer in enumerate(self.stem):
            maps = layer(maps if number == 0 else F.relu(maps))
        tokens = maps.flatten(2).transpose(1, 2) + self.positions
        mask = full_mask(tokens)
        for block in self.blocks:
            tokens = block(tokens, None)
        return gathered(Tokens(self.norm(tokens), mask), batch.lengths)
