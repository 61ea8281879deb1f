"""Weights that lie side by side in one piece of memory: a step costs a few operations, not a few for each weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

# Each weight begins at a multiple of so many numbers, where wide loads of the processor begin
ALIGNMENT = 16


def flatten(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Move weights and their gradients into one piece a type of number; each becomes a view of its part.

    Gradients are there from now on, zeros at first: set them to zero, never to None, or they leave the piece.

    Args:
        parameters: Of any shapes, each once.

    Returns:
        The pieces, 1-D, with `grad`: what an optimiser steps and a norm is taken of.
    """
    kinds: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in parameters:
        kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    return [_piece(found) for found in kinds.values()]


@torch.no_grad()
def _piece(parameters: list[nn.Parameter]) -> nn.Parameter:
    sizes = [-(-parameter.numel() // ALIGNMENT) * ALIGNMENT for parameter in parameters]
    piece = nn.Parameter(parameters[0].new_zeros(sum(sizes)))
    piece.grad = torch.zeros_like(piece)
    start = 0
    for parameter, size in zip(parameters, sizes, strict=True):
        view, grad = (whole[start : start + parameter.numel()].view(parameter.shape) for whole in (piece, piece.grad))
        view.copy_(parameter)
        parameter.data, parameter.grad = view, grad
        start += size
    return piece


@torch.no_grad()
def release(module: nn.Module) -> None:
    """Give each weight memory of its own again, without a gradient."""
    for parameter in module.parameters():
        parameter.data, parameter.grad = parameter.data.clone(), None
