"""The optimiser on groups of parameters, a schedule with warm-up and cosine, and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from omnifuse.training.muon import MuonBesideAdamW, hidden_matrices, make_muon


def make_optimiser(
    model: nn.Module, *, learning_rate: float, weight_decay: float, name: str = "adamw"
) -> torch.optim.Optimizer:
    """AdamW, or Muon beside it, that decays matrices alone: no biases, norms, nor embeddings.

    Args:
        model: Its trainable parameters.
        learning_rate: Peak rate; the same one suits both.
        weight_decay: Of matrices.
        name: "adamw", or "muon" for Muon on the hidden matrices and AdamW on the rest.

    References: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization.
    """
    hidden = hidden_matrices(model) if name == "muon" else []
    taken = {id(parameter) for parameter in hidden}
    kept: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    matrices = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }
    for parameter in model.parameters():
        if parameter.requires_grad and id(parameter) not in taken:
            (decayed if id(parameter) in matrices else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-8, fused=True)
    if name != "muon":
        return adamw
    return MuonBesideAdamW(make_muon(hidden, learning_rate=learning_rate, weight_decay=weight_decay), adamw)


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


class WeightAverage:
    """A running mean of the weights over the last part of training.

    Args:
        model: Whose parameters are averaged; buffers are not.
        share: Share of the steps whose weights matter, 0 to 1; 0 keeps the last weights.
        steps: All steps.

    References: Morales-Brotons et al. 2024, Exponential Moving Average of Weights in Deep Learning.
    """

    def __init__(self, model: nn.Module, *, share: float, steps: int) -> None:
        self.decay = 1.0 - 1.0 / max(1.0, share * steps / 2)
        self.names = [name for name, value in model.named_parameters() if value.requires_grad]
        self.values = [value.detach().clone() for value in model.parameters() if value.requires_grad]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take the weights after a step into the mean."""
        decay = min(self.decay, (step + 1) / (step + 10))
        current = [value.detach() for value in model.parameters() if value.requires_grad]
        torch._foreach_lerp_(self.values, current, 1.0 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the mean into the model."""
        parameters: list[torch.Tensor] = [value for value in model.parameters() if value.requires_grad]
        torch._foreach_copy_(parameters, self.values)

    def state(self) -> dict[str, torch.Tensor]:
        """Name to mean, for checkpoints."""
        return dict(zip(self.names, self.values, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Inverse of `state`."""
        torch._foreach_copy_(self.values, [state[name] for name in self.names])
