"""Telling numbers that are NaN or infinite: in a loss, a gradient or a weight."""

from __future__ import annotations

import math

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
def unsound_weights(model: nn.Module) -> list[str]:
    """Names of the parameters that hold a number which is not finite."""
    names, values = zip(*model.named_parameters(), strict=True)
    # The sum of the sizes is finite only where each of them is; one number a parameter is waited for, not all
    sound = torch.isfinite(torch.stack([size.float() for size in torch._foreach_norm(list(values), 1.0)]))
    if bool(sound.all()):
        return []
    return [name for name, is_sound in zip(names, sound.tolist(), strict=True) if not is_sound]
