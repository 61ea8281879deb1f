"""Conformer blocks and the subsampling before them. Shapes: B rows, F frames, C mel bands, T tokens, D width.

No result at a real place depends on padding or on other rows: what is padded is set to 0 before every convolution, and
norms look at one place alone.

References: Gulati et al. 2020, Conformer (arXiv:2005.08100), figure 1 and section 2. Changed: absolute positions, which
the encoder adds to the tokens, instead of relative ones; and layer norm instead of batch norm in the convolution, since
the mean over a batch would see padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers.attention import Attention
from omnifuse.layers.dropout import Dropout
from omnifuse.layers.stochastic_depth import StochasticDepth

# Frames that become one token
SUBSAMPLING = 4


class ConvSubsampling(nn.Module):
    """Two convolutions of stride 2 over time and bands: a quarter of the frames as tokens.

    Args:
        num_bands: C.
        dim: D.
        channels: Of the convolutions.
    """

    def __init__(self, num_bands: int, dim: int, *, channels: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(9, channels)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        bands = (num_bands + 3) // 4
        self.output = nn.Linear(channels * bands, dim)

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, C) and (B, F) bool to (B, T, D) and (B, T), T = F / 4 rounded up."""
        padded = F.pad(frames * mask.unsqueeze(2), (1, 1, 1, 1))
        # (B, F / 2, C / 2, 3, 3): a matrix product, since gradients of a convolution of one channel are slow
        patches = padded.unfold(1, 3, 2).unfold(2, 3, 2)
        mask = mask[:, ::2]
        maps = F.relu(self.first(patches.flatten(3))) * mask[:, :, None, None]
        mask = mask[:, ::2]
        maps = F.relu(self.second(maps.permute(0, 3, 1, 2))) * mask[:, None, :, None]
        # (B, channels, T, C / 4) -> (B, T, channels * C / 4)
        return self.output(maps.permute(0, 2, 1, 3).flatten(2)), mask


class ConvolutionModule(nn.Module):
    """Gated pointwise, depthwise and pointwise convolution over time.

    Args:
        dim: D.
        kernel: Width of the depthwise convolution in tokens, odd.
    """

    def __init__(self, dim: int, *, kernel: int = 15) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"the kernel is {kernel}, which is not odd")
        self.norm = nn.LayerNorm(dim)
        self.gated = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool to (B, T, D)."""
        inner = F.glu(self.gated(self.norm(tokens)), dim=2) * mask.unsqueeze(2)
        inner = self.depthwise(inner.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.output(F.silu(self.inner_norm(inner)))
        return out


class FeedForward(nn.Module):
    """Norm and two linear layers with swish between."""

    def __init__(self, dim: int, *, expansion: float = 4.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, int(dim * expansion))
        self.outer = nn.Linear(int(dim * expansion), dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        out: Tensor = self.outer(F.silu(self.inner(self.norm(tokens))))
        return out


class ConformerBlock(nn.Module):
    """Half a feed-forward step, attention, convolution, half a feed-forward step.

    Args:
        dim: D.
        num_heads: Heads of attention.
        dropout: Of each added part.
        kernel: Of the depthwise convolution.
        expansion: Width of the feed-forward layers over D.
    """

    def __init__(
        self, dim: int, num_heads: int = 4, *, dropout: float = 0.0, kernel: int = 15, expansion: float = 4.0
    ) -> None:
        super().__init__()
        self.before = FeedForward(dim, expansion=expansion)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads)
        self.convolution = ConvolutionModule(dim, kernel=kernel)
        self.after = FeedForward(dim, expansion=expansion)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.skip = StochasticDepth()

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and (B, T) bool to (B, T, D)."""
        tokens = tokens + 0.5 * self.skip(self.dropout(self.before(tokens)))
        tokens = tokens + self.skip(self.dropout(self.attention(self.attention_norm(tokens), mask)))
        tokens = tokens + self.skip(self.dropout(self.convolution(tokens, mask)))
        out: Tensor = self.norm(tokens + 0.5 * self.skip(self.dropout(self.after(tokens))))
        return out


def kept_frames(lengths: Tensor) -> Tensor:
    """(B,) frames to (B,) tokens behind `ConvSubsampling`."""
    return torch.div(lengths + SUBSAMPLING - 1, SUBSAMPLING, rounding_mode="floor")
