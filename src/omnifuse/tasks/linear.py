"""A linear model of fixed features beside the network's heads. Shapes: N training rows, B rows, S features, C outputs.

On a table of many rows a network interpolates better than a line and extrapolates worse: on a day that is warmer than
all days it learnt from, the line is often right where the network is not. Logistic (or ridge) regression on the scaled
cells is fitted at once, before training, and the readout pools both.

Scaled cells are about one wide each, bags of words about one long each row, as regressions of them usually are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
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
# A field of which fewer features are there in a row than this share is a bag of words
SPARSE_SHARE = 0.2
# Its rows are scaled to one of these lengths, scikit-learn's C = 1, 4, 16, 64. Of several such fields each may be made
# shorter, so that one that says little does not blur one that says much
LENGTHS = (1.0, 2.0, 4.0, 8.0)
SHORTER = (0.5, 0.25)
# The readout calibrates the head, so that only the order and proportion of its answers count
SHARPNESS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
# Found on a fifth of the rows; where these are few, on each fifth in turn
NUM_PARTS, FEW_ROWS = 5, 4000
# Fewer rows cannot tell
FEWEST_TO_CHOOSE = 50

Matrix = Any  # (N, S) float64, of numpy or, where it is sparse, of scipy


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
        self._scales: dict[str, float] = {}

    def _weights(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(f"weights_{number}") for number, name in enumerate(self.fields)}

    @torch.no_grad()
    def fit(self, summaries: Mapping[str, Summary], target: Tensor) -> None:
        """Fit to N rows at once.

        Args:
            summaries: Of all fields.
            target: (N, C) shares, tags or standardised values; rows with NaN are left out.
        """
        self._scales = {}
        self._fit(summaries, target)

    @torch.no_grad()
    def refit(self, summaries: Mapping[str, Summary], target: Tensor) -> None:
        """As `fit` to other rows, words trusted as far as before: the answers must be as sharp as those calibrated."""
        self._fit(summaries, target)

    def _fit(self, summaries: Mapping[str, Summary], target: Tensor) -> None:
        known = ~target.isnan().any(dim=1)
        weights = {name: item for name, item in self._weights().items() if name in summaries}
        if int(known.sum()) < 4 or not weights:
            return
        parts = [_matrix(summaries[name].values[known]) for name in weights]
        wanted = target[known].double().cpu()
        if set(self._scales) != set(weights):
            self._scales = dict(zip(weights, _chosen_scales(parts, wanted, self.kind), strict=True))
        scales = [self._scales[name] for name in weights]
        found, bias = _regression([part * scale for part, scale in zip(parts, scales, strict=True)], wanted, self.kind)
        for item, part, scale in zip(weights.values(), found, scales, strict=True):
            item.copy_(part * scale)
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


def _matrix(values: Tensor) -> Matrix:
    """Features as they are, or without their zeros where nearly all are zeros: that is hundreds of times quicker."""
    count = int(values.count_nonzero())
    if count >= SPARSE_SHARE * values.numel():
        return values.double().cpu().numpy()
    from scipy.sparse import csr_matrix

    return csr_matrix(values.cpu().numpy()).astype(np.float64)


def _is_sparse(part: Matrix) -> bool:
    return not isinstance(part, np.ndarray)


def _chosen_scales(parts: Sequence[Matrix], wanted: Tensor, kind: TaskKind) -> list[float]:
    """What each part is multiplied by: how far words may be trusted differs by the data, and held-out rows tell.

    Lengths of all bags of words are tried together, then shorter ones of each while the loss falls.
    """
    sparse = [number for number, part in enumerate(parts) if _is_sparse(part)]
    scales = [1.0 if _is_sparse(part) else math.sqrt(part.shape[1]) for part in parts]
    if not sparse or len(wanted) < FEWEST_TO_CHOOSE:
        return scales
    part_of = np.random.default_rng(0).permutation(len(wanted)) % NUM_PARTS
    numbers = range(NUM_PARTS if len(wanted) < FEW_ROWS else 1)
    sharpness = (1.0,) if kind is TaskKind.REGRESSION else SHARPNESS

    def loss_with(scales: Sequence[float]) -> float:
        own = [part * by for part, by in zip(parts, scales, strict=True)]
        answers = [_answers(own, wanted, part_of == number, kind) for number in numbers]
        truth = torch.cat([wanted[part_of == number] for number in numbers])
        return min(float(_loss_of(kind)(torch.cat(answers) * factor, truth)) for factor in sharpness)

    tried = {length: loss_with(_scaled(scales, sparse, length)) for length in LENGTHS}
    length = min(tried, key=lambda length: tried[length])
    scales, least = _scaled(scales, sparse, length), tried[length]
    for number in sparse if len(sparse) > 1 else ():
        for shorter in [_scaled(scales, [number], by) for by in SHORTER]:
            loss = loss_with(shorter)
            if loss >= least:
                break
            scales, least = shorter, loss
    return scales


def _scaled(scales: Sequence[float], numbers: Sequence[int], by: float) -> list[float]:
    """The scales with those of some parts multiplied."""
    return [scale * by if number in numbers else scale for number, scale in enumerate(scales)]


def _answers(parts: Sequence[Matrix], wanted: Tensor, held: np.ndarray, kind: TaskKind) -> Tensor:
    """Answers to held rows of a regression on the others."""
    found, bias = _regression([part[~held] for part in parts], wanted[~held], kind)
    return sum((_times(part[held], item) for part, item in zip(parts, found, strict=True)), bias)


def _times(part: Matrix, weights: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(part @ weights.detach().numpy()))


def _regression(parts: Sequence[Matrix], wanted: Tensor, kind: TaskKind) -> tuple[list[Tensor], Tensor]:
    """(S, C) weights of each part, and (C,) bias, of least loss and ridge."""
    # Around the mean the bias is nearly free of the weights, which the quasi-Newton method likes
    middle = torch.from_numpy(np.concatenate([np.asarray(part.mean(axis=0)).ravel() for part in parts]))
    widths = [part.shape[1] for part in parts]
    turned = [part.T if not _is_sparse(part) else part.T.tocsr() for part in parts]
    weights = torch.zeros((sum(widths), wanted.shape[1]), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(wanted.shape[1], dtype=torch.float64, requires_grad=True)
    loss_of = _loss_of(kind)
    optimiser = torch.optim.LBFGS(
        [weights, bias],
        max_iter=MOST_STEPS,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        """The mean loss; its gradient by hand, since autograd knows no sparse products of doubles."""
        split = weights.detach().split_with_sizes(widths)
        shift = bias.detach() - middle @ weights.detach()
        answers = sum((_times(part, item) for part, item in zip(parts, split, strict=True)), shift)
        with torch.enable_grad():
            loss = loss_of(answers.requires_grad_(), wanted)
            (slope,) = torch.autograd.grad(loss, answers)
        total = slope.sum(dim=0)
        back = torch.cat([_times(part, slope) for part in turned]) - middle[:, None] * total
        weights.grad = (back + 2 * RIDGE * weights.detach()) / len(wanted)
        bias.grad = total / len(wanted)
        return (loss.detach() + RIDGE * weights.detach().square().sum()) / len(wanted)

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = weights.detach()
    return list(found.split_with_sizes(widths)), bias.detach() - middle @ found
