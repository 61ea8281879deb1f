"""How much each target's loss counts while several are learnt at once.

Weights are plain numbers that follow the training step by step; they belong to training and do not ship. A target
without a label in a batch neither learns nor moves its weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from omnifuse.model import ModelOutput

# Step of the weights' own gradient descent
RATE = 0.025
# Of a logarithm of a variance: weights from 1/20 to 20
FURTHEST = 3.0
# GradNorm: how hard targets that learn slowly are pushed, and the least weight
ASYMMETRY, LEAST_WEIGHT = 1.5, 0.05


class Balancing(Protocol):
    """Weighs the targets' losses and learns from each step."""

    @property
    def weights(self) -> dict[str, float]:
        """Target to its weight now; empty where nothing is weighed."""
        ...

    def begin(self) -> None:
        """A step begins: nothing is measured yet."""
        ...

    def loss(self, output: ModelOutput) -> Tensor:
        """The weighted loss; what the weights will learn from is measured here, before the graph is freed.

        Where a batch is taken in parts, this is called for each; what is measured adds up.
        """
        ...

    def learn(self) -> None:
        """Take in what was measured, once the step has proved sound."""
        ...

    def state(self) -> dict[str, dict[str, float]]:
        """Plain JSON values for checkpoints."""
        ...

    def load(self, state: dict[str, dict[str, float]]) -> None:
        """Inverse of `state`."""
        ...


class NoBalancing:
    """The sum of the losses."""

    @property
    def weights(self) -> dict[str, float]:
        """None."""
        return {}

    def begin(self) -> None:
        """Nothing is measured."""

    def loss(self, output: ModelOutput) -> Tensor:
        """The model's own loss."""
        assert output.loss is not None
        return output.loss

    def learn(self) -> None:
        """Nothing is learnt."""

    def state(self) -> dict[str, dict[str, float]]:
        """Nothing."""
        return {}

    def load(self, state: dict[str, dict[str, float]]) -> None:
        """Nothing."""


class UncertaintyBalancing:
    """Each loss L by a learned variance: exp(-s) L + s / 2 with s = log of the variance, by gradient descent on s.

    A target that stays uncertain, whatever is tried, counts less. The Huber loss of a regression holds the half that
    the paper's Gaussian has before its square, so one form serves all tasks; s / 2 has no gradient in the network and
    is left out of the loss that is logged.

    References: Kendall, Gal and Cipolla 2018, Multi-Task Learning Using Uncertainty to Weigh Losses, equations 5, 10.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self.log_variances = dict.fromkeys(targets, 0.0)
        self.measured: dict[str, float] = {}

    @property
    def weights(self) -> dict[str, float]:
        """Target to exp(-s)."""
        return {name: math.exp(-value) for name, value in self.log_variances.items()}

    def begin(self) -> None:
        """A step begins: nothing is measured yet."""
        self.measured = {}

    def loss(self, output: ModelOutput) -> Tensor:
        """The sum of exp(-s) L and of what is no target's."""
        _add(self.measured, _known_losses(output))
        return weighted_sum(output, self.weights)

    def learn(self) -> None:
        """One step down the gradient of exp(-s) L + s / 2."""
        for name, loss in self.measured.items():
            s = self.log_variances[name]
            moved = s - RATE * (0.5 - math.exp(-s) * loss)
            self.log_variances[name] = min(max(moved, -FURTHEST), FURTHEST)

    def state(self) -> dict[str, dict[str, float]]:
        """The logarithms of the variances."""
        return {"log_variances": dict(self.log_variances)}

    def load(self, state: dict[str, dict[str, float]]) -> None:
        """Inverse of `state`."""
        self.log_variances = {name: float(state["log_variances"][name]) for name in self.log_variances}


class GradNorm:
    """Weights under which all targets pull at the fused representation alike, slow learners harder.

    Norms are measured at the unified representation (B, D), which every fused head reads, and taken in units of their
    mean, so that the weights' steps do not depend on their scale; weights sum to the number of targets.

    References: Chen et al. 2018, GradNorm: Gradient Normalization for Adaptive Loss Balancing, equations 1 and 2 and
    algorithm 1, with alpha = 1.5.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self._weights = dict.fromkeys(targets, 1.0)
        self.first: dict[str, float] = {}
        self.losses: dict[str, float] = {}
        self.norms: dict[str, float] = {}

    @property
    def weights(self) -> dict[str, float]:
        """Target to weight."""
        return dict(self._weights)

    def begin(self) -> None:
        """A step begins: nothing is measured yet."""
        self.losses, self.norms = {}, {}

    def loss(self, output: ModelOutput) -> Tensor:
        """The weighted sum of the losses."""
        losses = _known_losses(output)
        _add(self.losses, losses)
        for name in losses:
            fused_loss = output.targets[name].fused_loss
            assert fused_loss is not None
            (gradient,) = torch.autograd.grad(fused_loss, output.fused.pooled, retain_graph=True, allow_unused=True)
            norm = 0.0 if gradient is None else float(gradient.float().norm())
            # The gradient has a row for each of the batch, so that the parts of a batch stand at right angles
            self.norms[name] = math.hypot(self.norms.get(name, 0.0), norm)
        return weighted_sum(output, self._weights)

    def learn(self) -> None:
        """One step down the gradient of the sum of |G - mean(G) r^alpha|."""
        self.first = {**self.losses, **self.first}
        if len(self.norms) < 2 or min(self.norms.values()) <= 0:
            return
        moved = gradnorm_step(
            {name: self._weights[name] for name in self.norms},
            self.norms,
            {name: self.losses[name] / self.first[name] for name in self.norms},
        )
        self._weights |= moved
        total = sum(self._weights.values())
        self._weights = {name: value * len(self._weights) / total for name, value in self._weights.items()}

    def state(self) -> dict[str, dict[str, float]]:
        """Weights and first losses."""
        return {"weights": dict(self._weights), "first": dict(self.first)}

    def load(self, state: dict[str, dict[str, float]]) -> None:
        """Inverse of `state`."""
        self._weights = {name: float(state["weights"][name]) for name in self._weights}
        self.first = {name: float(value) for name, value in state["first"].items()}


def gradnorm_step(
    weights: dict[str, float], norms: dict[str, float], ratios: dict[str, float], *, alpha: float = ASYMMETRY
) -> dict[str, float]:
    """Weights after one step of GradNorm, before they are scaled to their sum.

    Args:
        weights: Target to w.
        norms: Target to the norm g of its unweighted loss's gradient, so that G = w g.
        ratios: Target to loss / first loss.
        alpha: Strength of the pull on slow learners.
    """
    unit = sum(norms.values()) / len(norms)
    pulls = {name: weights[name] * norms[name] / unit for name in weights}
    mean_pull, mean_ratio = sum(pulls.values()) / len(pulls), sum(ratios.values()) / len(ratios)
    moved = {}
    for name, weight in weights.items():
        aim = mean_pull * (ratios[name] / max(mean_ratio, 1e-12)) ** alpha
        gap = pulls[name] - aim
        # The aim is taken as constant, so the gradient of |G - aim| in w is g by the sign of the gap
        slope = math.copysign(norms[name] / unit, gap) if gap else 0.0
        moved[name] = max(weight - RATE * slope, LEAST_WEIGHT)
    return moved


def weighted_sum(output: ModelOutput, weights: dict[str, float]) -> Tensor:
    """Parts of the loss by weight; what is no target's (the alignment) counts as it is."""
    return torch.stack([weights.get(name, 1.0) * part for name, part in output.parts.items()]).sum()


def _known_losses(output: ModelOutput) -> dict[str, float]:
    """Target to its loss, for targets that have a label in this batch (without one the loss is exactly 0)."""
    losses = {name: float(output.parts[name].detach()) for name in output.targets if name in output.parts}
    return {name: loss for name, loss in losses.items() if loss > 0 and math.isfinite(loss)}


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value


def make_balancing(name: str, targets: Sequence[str]) -> Balancing:
    """The balancing of that name; with one target there is nothing to weigh."""
    if name == "none" or len(targets) < 2:
        return NoBalancing()
    return UncertaintyBalancing(targets) if name == "uncertainty" else GradNorm(targets)
