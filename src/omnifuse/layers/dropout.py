"""Dropout with a source of randomness of its own, so that networks can train side by side and repeat to the bit."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Set values to zero at random in training and scale the others up.

    As `torch.nn.Dropout`, but it draws from `generator` where training sets one (None: torch's global one), and it is
    passed by where nothing is dropped: on one row the calls alone would be a tenth of the time.

    Args:
        p: Share that is dropped.

    References: Srivastava et al. 2014, Dropout.
    """

    generator: torch.Generator | None = None

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = p

    def __call__(self, values: Any) -> Any:
        """(...) to (...)."""
        return super().__call__(values) if self.training and self.p > 0 else values

    def forward(self, values: Tensor) -> Tensor:
        """Drop."""
        if values.is_cuda and self.mask_shape(values) == values.shape:
            # One pass through memory instead of four. Networks train one at a time there, and torch's own generator is
            # seeded anew at each step
            return F.dropout(values, self.p)
        kept = values.new_empty(self.mask_shape(values)).bernoulli_(1 - self.p, generator=self.generator)
        return values * kept.div_(1 - self.p)

    def mask_shape(self, values: Tensor) -> tuple[int, ...]:
        """One draw a value."""
        return tuple(values.shape)

    def extra_repr(self) -> str:
        """The share."""
        return f"p={self.p}"


class ChannelDropout(Dropout):
    """Whole channels of (N, C, H, W) at once.

    References: Tompson et al. 2015, Efficient Object Localization, section 3.2.
    """

    def mask_shape(self, values: Tensor) -> tuple[int, ...]:
        """One draw a channel of a row."""
        return (values.shape[0], values.shape[1], *[1] * (values.ndim - 2))
