"""A linear model of fixed features beside the network's heads. Shapes: N training rows, B rows, S features, C outputs.

On a table of many rows a network interpolates better than a line and extrapolates worse: on a day that is warmer than
all days it learnt from, the line is often right where the network is not. Logistic (or ridge) regression on the scaled
cells is fitted at once, before training, and the readout pools both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.schema import TaskKind
from omnifuse.tasks.summary import Summary

# Squared norm of the weights against the sum of the losses: scikit-learn's 1 / (2 C)
RIDGE = 0.5
# Most rows that it is fitted to
MOST_ROWS = 20_000
# Most iterations of the quasi-Newton method; it ends before on a flat gradient
MOST_STEPS = 200


class LinearHead(nn.Module):
    """Logistic or ridge regression on the fixed features of the present fields.

    Args:
        widths: Field to S of its summary.
        num_outputs: C.
        kind: Task: decides the loss (cross-entropy, for levels too; one a tag; or squared error).

    Shape: dict of summaries, any subset of the fields, to (B, C) logits or standardised values.

    References: Cheng et al. 2016, Wide & Deep Learning for Recommender Systems.
    """

    most_rows = MOST_ROWS
    bias: Tensor

    def __init__(self, widths: Mapping[str, int], num_outputs: int, kind: TaskKind) -> None:
        super().__init__()
        self.fields, self.kind = tuple(widths), kind
        for number, width in enumerate(widths.values()):
            self.register_buffer(f"weights_{number}", torch.zeros(width, num_outputs))
        self.register_buffer("bias", torch.zeros(num_outputs))

    def _weights(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(f"weights_{number}") for number, name in enumerate(self.fields)}

    @torch.no_grad()
    def fit(self, summaries: Mapping[str, Summary], target: Tensor) -> None:
        """Fit to N rows at once.

        Args:
            summaries: Of all fields.
            target: (N, C) shares, tags or standardised values; rows with NaN are left out.
        """
        known = ~target.isnan().any(dim=1)
        weights = {name: item for name, item in self._weights().items() if name in summaries}
        if int(known.sum()) < 4 or not weights:
            return
        parts = [summaries[name].values[known].double() * math.sqrt(item.shape[0]) for name, item in weights.items()]
        found, bias = _regression(torch.cat(parts, dim=1), target[known].double(), self.kind)
        for item, part in zip(
            weights.values(), found.split_with_sizes([len(item) for item in weights.values()]), strict=True
        ):
            item.copy_(part * math.sqrt(len(item)))
        self.bias.copy_(bias)

    def forward(self, summaries: Mapping[str, Summary], num_rows: int) -> Tensor:
        """(B, C) logits or standardised values from the fields that are there."""
        answers = self.bias.expand(num_rows, -1)
        for name, weights in self._weights().items():
            if name in summaries:
                item = summaries[name]
                answers = answers + (item.values @ weights) * item.present.unsqueeze(1)
        return answers


def _loss_of(kind: TaskKind) -> Callable[[Tensor, Tensor], Tensor]:
    """Sum over rows of the loss of (N, C) answers."""
    if kind.chooses_class:
        return lambda answers, wanted: -(wanted * answers.log_softmax(dim=1)).sum()
    if kind is TaskKind.TAGGING:
        return lambda answers, wanted: F.binary_cross_entropy_with_logits(answers, wanted, reduction="sum")
    return lambda answers, wanted: 0.5 * (answers - wanted).square().sum()


def _regression(features: Tensor, wanted: Tensor, kind: TaskKind) -> tuple[Tensor, Tensor]:
    """(S, C) weights and (C,) bias of least loss and ridge."""
    # Around the mean the bias is nearly free of the weights, which the quasi-Newton method likes
    middle = features.mean(dim=0)
    centred = features - middle
    weights = features.new_zeros((features.shape[1], wanted.shape[1]))
    bias = features.new_zeros(wanted.shape[1])
    loss_of = _loss_of(kind)
    with torch.enable_grad():
        weights.requires_grad_()
        bias.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weights, bias],
            max_iter=MOST_STEPS,
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = loss_of(centred @ weights + bias, wanted) + RIDGE * weights.square().sum()
            loss = loss / len(wanted)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach(), (bias - middle @ weights).detach()
