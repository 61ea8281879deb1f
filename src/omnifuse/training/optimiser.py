"""The optimiser on groups of parameters, a schedule with warm-up and cosine, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from omnifuse.training.flat import flatten
from omnifuse.training.muon import MuonBesideAdamW, hidden_matrices, make_muon


def make_optimiser(
    model: nn.Module, *, learning_rate: float, weight_decay: float, name: str = "adamw", flat: bool = False
) -> torch.optim.Optimizer:
    """AdamW, or Muon beside it, that decays matrices alone: no biases, norms, nor embeddings.

    Args:
        model: Its trainable parameters.
        learning_rate: Peak rate; the same one suits both.
        weight_decay: Of matrices.
        name: "adamw", or "muon" for Muon on the hidden matrices and AdamW on the rest.
        flat: Move the weights of AdamW into few pieces, see `flatten`.

    References: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization.
    """
    scales = rate_scales(model)
    hidden = [item for item in hidden_matrices(model) if id(item) not in scales] if name == "muon" else []
    taken = {id(parameter) for parameter in hidden}
    # Share of the rate to the weights that decay and those that do not; those of the whole rate come first
    sorted_in: dict[float, tuple[list[nn.Parameter], list[nn.Parameter]]] = {1.0: ([], [])}
    matrices = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }
    for parameter in model.parameters():
        if parameter.requires_grad and id(parameter) not in taken:
            pair = sorted_in.setdefault(scales.get(id(parameter), 1.0), ([], []))
            pair[0 if id(parameter) in matrices else 1].append(parameter)
    groups = [
        {"params": flatten(part) if flat else part, "weight_decay": decay, "scale": scale, "lr": learning_rate * scale}
        for scale, pair in sorted_in.items()
        for part, decay in zip(pair, (weight_decay, 0.0), strict=True)
        if part or scale == 1.0
    ]
    adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-8, fused=True)
    if name != "muon":
        return adamw
    return MuonBesideAdamW(make_muon(hidden, learning_rate=learning_rate, weight_decay=weight_decay), adamw)


def rate_scales(model: nn.Module) -> dict[int, float]:
    """Id of each weight that learns at a share of the rate to that share, as its module's `rate_scales` says."""
    found: dict[int, float] = {}
    for module in model.modules():
        own = getattr(module, "rate_scales", None)
        if own is not None:
            found |= own()
    return found


def rate_factor(step: int, steps: int, warm_up: float) -> float:
    """Share of the peak rate at a step: a rise over the first part, then a half cosine to 1%.

    Example:
        >>> [round(rate_factor(step, 100, 0.1), 2) for step in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.51, 0.01]
    """
    rising = max(1, round(steps * warm_up))
    if step < rising:
        return (step + 1) / rising
    share = (step - rising) / max(1, steps - rising)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def weights_of(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    """What an optimiser steps, in its order."""
    return [weight for group in optimiser.param_groups for weight in group["params"]]


class WeightAverage:
    """A running mean of the weights over the last part of training.

    Args:
        weights: Averaged as they stand at each update.
        share: Share of the steps whose weights matter, 0 to 1; 0 keeps the last weights.
        steps: All steps.

    References: Morales-Brotons et al. 2024, Exponential Moving Average of Weights in Deep Learning.
    """

    def __init__(self, weights: Iterable[nn.Parameter], *, share: float, steps: int) -> None:
        self.share = share
        self.plan(steps)
        self.weights = [value.detach() for value in weights]
        self.values = [value.clone() for value in self.weights]

    def plan(self, steps: int) -> None:
        """Fit the decay to another number of steps."""
        self.decay = 1.0 - 1.0 / max(1.0, self.share * steps / 2)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after a step into the mean."""
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.values, self.weights, 1.0 - decay)

    @torch.no_grad()
    def use(self) -> None:
        """Put the mean in the weights' place."""
        torch._foreach_copy_(self.weights, self.values)

    def state(self) -> dict[str, torch.Tensor]:
        """Position to mean, for checkpoints."""
        return {str(number): value for number, value in enumerate(self.values)}

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Inverse of `state`."""
        torch._foreach_copy_(self.values, [state[str(number)] for number in range(len(self.values))])
