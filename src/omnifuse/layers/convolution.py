"""Residual convolutions whose result at a place never depends on padding or on other rows of the batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers.dropout import ChannelDropout
from omnifuse.layers.masks import is_exporting
from omnifuse.layers.stochastic_depth import StochasticDepth


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each place: (N, C, H, W) in channels-last memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, values: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        out: Tensor = self.norm(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions added to their input, which is thinned and widened where the block makes it smaller.

    Args:
        input_channels: C in.
        channels: C out.
        stride: Of the first convolution: (rows, columns).
        dropout: Of whole channels, before the sum.
    """

    def __init__(
        self, input_channels: int, channels: int, *, stride: tuple[int, int] = (1, 1), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(input_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.first_norm = ChannelNorm(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = ChannelNorm(channels)
        self.dropout = ChannelDropout(dropout)
        self.skip = StochasticDepth()
        self.shortcut = nn.Conv2d(input_channels, channels, 1, bias=False) if input_channels != channels else None

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Apply.

        Args:
            values: (N, C, H, W).
            mask: (N, 1, H', 1) of the result, bool or number, 1 = real row; padded rows are set to 0, so that no
                neighbour sees them.
        """
        inner = rectify(self.first_norm(self.first(values)), mask)
        inner = self.skip(self.dropout(self.second_norm(self.second(inner))))
        # Channels last, so that the gradient of the slice lies in memory as its value does
        same = values.permute(0, 2, 3, 1)
        if self.stride != (1, 1):
            # Every other place, not a mean: a mean at the end of a sound would depend on how far it is padded
            same = same[:, :: self.stride[0], :: self.stride[1]]
        if self.shortcut is not None:
            # Equal to the convolution, whose own code is several times slower at 1 x 1
            same = F.linear(same, self.shortcut.weight.flatten(1))
        return rectify(inner + same.permute(0, 3, 1, 2), mask)


def rectify(values: Tensor, mask: Tensor | None) -> Tensor:
    """relu of values that nobody else holds, and 0 where the mask is 0."""
    if mask is not None and is_exporting():
        return F.relu(values * mask)
    if mask is not None:
        # Unseen by autograd: relu passes no gradient at 0, so a product of its own would cost and change nothing
        values.detach().mul_(mask)
    return F.relu(values)
