"""Which colours a picture has, wherever they are. Shapes: P pictures, H W height and width, L levels a channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 5
_SIDE = 32
# Mean distance between channels, of 255, from which on pictures count as coloured: compressed grey ones have some
GREY = 3.0


class Colours(nn.Module):
    """Roots of the shares of 125 colours, of unit length; zeros where the training pictures are grey.

    A pixel counts for the levels on either side of each of its channels' values, by its nearness to them, so that a
    little more light moves the shares a little. The root makes products of two pictures the Bhattacharyya coefficient.
    What grey pictures show beside their thumbnail is mostly their exposure.

    Shape: pixels (P, H, W, 3) uint8 to (P, 125) float32.

    References: Swain and Ballard 1991, Color Indexing; Hafner et al. 1995 on shares that neighbours share.
    """

    coloured: Tensor
    width = LEVELS**3

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("coloured", torch.zeros(()))

    def initialise(self, pixels: Tensor) -> None:
        """Look for colours in training pictures."""
        if pixels.shape[0]:
            channels = pixels.float().flatten(1, 2)
            apart = (channels - channels.roll(1, dims=2)).abs().mean()
            self.coloured.fill_(float(apart > GREY))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to shares."""
        small = F.adaptive_avg_pool2d(pixels.permute(0, 3, 1, 2).float(), (_SIDE, _SIDE)).flatten(2)
        levels = torch.arange(LEVELS, device=pixels.device, dtype=torch.float32)
        # (P, 3, L, places)
        near = (1 - (small.unsqueeze(2) * ((LEVELS - 1) / 255) - levels.unsqueeze(1)).abs()).clamp(min=0)
        red, green, blue = near.unbind(1)
        pairs = (red.unsqueeze(2) * green.unsqueeze(1)).flatten(1, 2)
        shares = (pairs @ blue.transpose(1, 2)).flatten(1) / _SIDE**2
        return shares.clamp(min=0).sqrt() * self.coloured
