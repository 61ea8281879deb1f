"""What can be left out where a mask is all real. Shapes: any; mask True = a real token."""

from __future__ import annotations

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether a network is being turned into a graph that shall serve rows of any number, length and mask."""
    return torch.compiler.is_exporting()


def all_real(mask: Tensor) -> bool:
    """Whether every place is real, so that the mask need not be applied; not known while a network is exported."""
    return not is_exporting() and bool(mask.all())
