"""Generalised linear regression with a ridge by L-BFGS. Shapes: N rows, S features, C outputs.

A model may have several parts (a bag of words, columns of a table), each multiplied by a scale of its own: a larger
scale is a weaker ridge on the weights of that part. Parts may be sparse, and are never copied to be scaled.

References: Liu and Nocedal 1989, On the limited memory BFGS method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omnifuse.schema import TaskKind

# Squared norm of the weights against the sum of the losses: scikit-learn's 1 / (2 C)
RIDGE = 0.5
# Most iterations; it ends before where the gradient is flat or the mean loss falls by less than the tolerance
MOST_STEPS = 200
TOLERANCE = 1e-8
# Steps that the curvature is remembered of
HISTORY = 10
# Up to so many columns a sparse product is quicker one by one: twice as quick for three
FEW_OUTPUTS = 8
# Less than this share of a part is not zero: then it is kept without its zeros
SPARSE_SHARE = 0.2

Matrix = Any  # (N, S) float64, of numpy or, where it is sparse, of scipy


@dataclass(frozen=True)
class Line:
    """Weights (S, C) of each part as it is, unscaled, and bias (C,)."""

    weights: list[Tensor]
    bias: Tensor

    def answers(self, parts: Sequence[Matrix]) -> Tensor:
        """(N, C) for rows of the same parts."""
        return sum((times(part, item) for part, item in zip(parts, self.weights, strict=True)), self.bias)


def matrix_of(values: Tensor) -> Matrix:
    """Features as they are, or without their zeros where nearly all are zeros: that is hundreds of times quicker."""
    count = int(values.count_nonzero())
    if count >= SPARSE_SHARE * values.numel():
        return values.double().cpu().numpy()
    from scipy.sparse import csr_matrix

    rows, columns = values.nonzero(as_tuple=True)
    starts = F.pad(torch.bincount(rows, minlength=len(values)).cumsum(0), (1, 0))
    places = (columns.int().cpu().numpy(), starts.int().cpu().numpy())
    return csr_matrix((values[rows, columns].double().cpu().numpy(), *places), shape=tuple(values.shape))


def is_sparse(part: Matrix) -> bool:
    """Whether `matrix_of` left out the zeros of a part."""
    return not isinstance(part, np.ndarray)


def times(part: Matrix, weights: Tensor) -> Tensor:
    """Product of a part, sparse or not, and weights (S, C)."""
    given = weights.detach().numpy()
    if not is_sparse(part) or given.shape[1] > FEW_OUTPUTS:
        return torch.from_numpy(np.asarray(part @ given))
    return torch.from_numpy(np.stack([part @ column for column in np.ascontiguousarray(given.T)], axis=1))


def loss_of(kind: TaskKind) -> Callable[[Tensor, Tensor], Tensor]:
    """Sum over rows of the loss of (N, C) answers."""
    if kind.chooses_class:
        return lambda answers, wanted: -(wanted * answers.log_softmax(dim=1)).sum()
    if kind is TaskKind.TAGGING:
        return lambda answers, wanted: F.binary_cross_entropy_with_logits(answers, wanted, reduction="sum")
    return lambda answers, wanted: 0.5 * (answers - wanted).square().sum()


@dataclass(frozen=True)
class Regression:
    """Rows that lines are fitted to.

    Args:
        parts: Each (N, S), float64.
        wanted: (N, C) shares, tags or standardised values, float64.
        kind: Of the task; decides the loss.
    """

    parts: Sequence[Matrix]
    wanted: Tensor
    kind: TaskKind

    @cached_property
    def _turned(self) -> list[Matrix]:
        return [part.T.tocsr() if is_sparse(part) else part.T for part in self.parts]

    @cached_property
    def _middle(self) -> list[Tensor]:
        return [torch.from_numpy(np.asarray(part.mean(axis=0)).ravel()) for part in self.parts]

    def fit(self, scales: Sequence[float], *, start: Line | None = None, tolerance: float = TOLERANCE) -> Line:
        """The line of least loss and ridge.

        Args:
            scales: What each part is multiplied by.
            start: A line that is near, of any scales; nothing: all zeros.
            tolerance: It ends where a step lowers the mean loss by less.
        """
        widths = [part.shape[1] for part in self.parts]
        outputs, count = self.wanted.shape[1], len(self.wanted)
        weights = torch.zeros((sum(widths), outputs), dtype=torch.float64)
        bias = torch.zeros(outputs, dtype=torch.float64)
        if start is not None:
            weights = torch.cat([item / by for item, by in zip(start.weights, scales, strict=True)])
            # Around the mean, as below
            shifts = [middle @ item for middle, item in zip(self._middle, start.weights, strict=True)]
            bias = start.bias + sum(shifts)
        weights.requires_grad_()
        bias.requires_grad_()
        loss = loss_of(self.kind)
        optimiser = torch.optim.LBFGS(
            [weights, bias],
            max_iter=MOST_STEPS,
            tolerance_grad=1e-6,
            tolerance_change=tolerance,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )

        def line() -> Line:
            """Around the mean the bias is nearly free of the weights, which the quasi-Newton method likes."""
            own = [item * by for item, by in zip(weights.detach().split_with_sizes(widths), scales, strict=True)]
            shifts = [middle @ item for middle, item in zip(self._middle, own, strict=True)]
            return Line(own, bias.detach() - sum(shifts))

        def closure() -> Tensor:
            """The mean loss; its gradient by hand, since autograd knows no sparse products of doubles."""
            answers = line().answers(self.parts)
            with torch.enable_grad():
                total = loss(answers.requires_grad_(), self.wanted)
                (slope,) = torch.autograd.grad(total, answers)
            sums = slope.sum(dim=0)
            back = [
                (times(part, slope) - middle[:, None] * sums) * by
                for part, middle, by in zip(self._turned, self._middle, scales, strict=True)
            ]
            weights.grad = (torch.cat(back) + 2 * RIDGE * weights.detach()) / count
            bias.grad = sums / count
            return (total.detach() + RIDGE * weights.detach().square().sum()) / count

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return line()
