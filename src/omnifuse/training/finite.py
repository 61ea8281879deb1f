"""Telling numbers that are NaN or infinite: in a loss, a gradient or a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def unsound(loss: float, norm: Tensor) -> str | None:
    """What of a step is not finite, "loss" or "gradient"; None where it is sound.

    Args:
        loss: Of the batch.
        norm: Scalar, of the whole gradient.
    """
    if not math.isfinite(loss):
        return "loss"
    return None if bool(torch.isfinite(norm)) else "gradient"


@torch.no_grad()
def are_sound(weights: Sequence[Tensor]) -> bool:
    """Whether all numbers are finite."""
    # The sum of the sizes is finite only where each of them is; one number a tensor is waited for, not all
    return all(math.isfinite(size) for size in torch._foreach_norm(list(weights), 1.0))


@torch.no_grad()
def unsound_weights(model: nn.Module) -> list[str]:
    """Names of the parameters that hold a number which is not finite."""
    return [name for name, values in model.named_parameters() if not bool(torch.isfinite(values).all())]
