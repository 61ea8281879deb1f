"""Dropout that costs nothing where nothing is dropped."""

from __future__ import annotations

from typing import Any

from torch import nn


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, passed by outside training: on one row the calls alone would be a tenth of the time."""

    def __call__(self, values: Any) -> Any:
        """(...) to (...)."""
        return super().__call__(values) if self.training and self.p > 0 else values
