"""What can be left out where a mask is all real. Shapes: any; mask True = a real token."""

from __future__ import annotations

import torch
from torch import Tensor

# Attribute of a mask on a graphics card
_NOTE = "_all_real"


def is_exporting() -> bool:
    """Whether a network is being turned into a graph that shall serve rows of any number, length and mask."""
    return torch.compiler.is_exporting()


def all_real(mask: Tensor) -> bool:
    """Whether every place is real, so that the mask need not be applied; not known while a network is exported.

    A graphics card is asked once a mask, and not at all where `noted` was told: each answer waits for all of its work.
    """
    if is_exporting():
        return False
    if not mask.is_cuda:
        return bool(mask.all())
    if not hasattr(mask, _NOTE):
        noted(mask, bool(mask.all()))
    return bool(getattr(mask, _NOTE))


def noted(mask: Tensor, real: bool) -> Tensor:
    """The mask itself, which must not be written to any more, with a note on it whether every place is real."""
    if mask.is_cuda and not is_exporting():
        setattr(mask, _NOTE, real)
    return mask


def noted_real(*masks: Tensor) -> bool:
    """Whether a note on each mask says that every place is real."""
    return all(getattr(mask, _NOTE, False) for mask in masks)


def full_mask(tokens: Tensor) -> Tensor:
    """(B, T) True for tokens (B, T, ...) that are all real."""
    return noted(torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device), True)
