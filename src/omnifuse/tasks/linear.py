"""A linear model of fixed features beside the network's heads. Shapes: N training rows, B rows, S features, C outputs.

On a table of many rows a network interpolates better than a line and extrapolates worse: on a day that is warmer than
all days it learnt from, the line is often right where the network is not. Logistic (or ridge) regression on the scaled
cells is fitted at once, before training, and the readout pools both.

Scaled cells are about one wide each, bags of words about one long each row, as regressions of them usually are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from omnifuse.schema import TaskKind
from omnifuse.tasks.penalised import Line, Matrix, Regression, is_sparse, loss_of, matrix_of
from omnifuse.tasks.summary import Summary

# Most rows that it is fitted to
MOST_ROWS = 20_000
# Rows of a bag of words are scaled to one of these lengths, scikit-learn's C = 1, 4, 16, 64. Where several fields are
# such bags each may be made shorter, so that one that says little does not blur one that says much
LENGTHS = (1.0, 2.0, 4.0, 8.0)
SHORTER = (0.5, 0.25)
# The readout calibrates the head, so that only the order and proportion of its answers count
SHARPNESS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
# Found on a fifth of the rows; where these are few, on each fifth in turn
NUM_PARTS, FEW_ROWS = 5, 4000
# Fewer rows cannot tell
FEWEST_TO_CHOOSE = 50
# Fits that are only compared end sooner: of the mean loss
TOLERANCE_TO_CHOOSE = 1e-5


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
        parts = [matrix_of(summaries[name].values[known]) for name in weights]
        wanted = target[known].double().cpu()
        # A head that is fitted again begins at what it knows
        start: Line | None = Line([item.double().cpu() for item in weights.values()], self.bias.double().cpu())
        if set(self._scales) != set(weights):
            scales, start = _chosen(parts, wanted, self.kind)
            self._scales = dict(zip(weights, scales, strict=True))
        found = Regression(parts, wanted, self.kind).fit([self._scales[name] for name in weights], start=start)
        for item, part in zip(weights.values(), found.weights, strict=True):
            item.copy_(part)
        self.bias.copy_(found.bias)

    def forward(self, summaries: Mapping[str, Summary], num_rows: int) -> Tensor:
        """(B, C) logits or standardised values from the fields that are there."""
        answers = self.bias.expand(num_rows, -1)
        for name, weights in self._weights().items():
            if name in summaries:
                item = summaries[name]
                answers = answers + (item.values @ weights) * item.present.unsqueeze(1)
        return answers


def _chosen(parts: Sequence[Matrix], wanted: Tensor, kind: TaskKind) -> tuple[list[float], Line | None]:
    """What each part is multiplied by, and a line near that of these scales, where one was fitted.

    How far words may be trusted differs by the data, and held-out rows tell. All bags of words are made longer
    together while the loss falls, then each shorter while it falls.
    """
    sparse = [number for number, part in enumerate(parts) if is_sparse(part)]
    scales = [1.0 if is_sparse(part) else math.sqrt(part.shape[1]) for part in parts]
    if not sparse or len(wanted) < FEWEST_TO_CHOOSE:
        return scales, None
    trial = _Trial(parts, wanted, kind)
    best = _Tried(math.inf, scales, None)
    for length in LENGTHS:
        tried = trial.of(_scaled(scales, sparse, length), best.lines)
        if tried.loss >= best.loss:
            break
        best = tried
    for number in sparse if len(sparse) > 1 else ():
        for shorter in [_scaled(best.scales, [number], by) for by in SHORTER]:
            tried = trial.of(shorter, best.lines)
            if tried.loss >= best.loss:
                break
            best = tried
    return best.scales, best.lines[0] if best.lines else None


@dataclass(frozen=True)
class _Tried:
    """Scales with the loss on held-out rows and the line of each split."""

    loss: float
    scales: list[float]
    lines: list[Line] | None


class _Trial:
    """Splits of rows on which scales are tried."""

    def __init__(self, parts: Sequence[Matrix], wanted: Tensor, kind: TaskKind) -> None:
        part_of = np.random.default_rng(0).permutation(len(wanted)) % NUM_PARTS
        splits = [part_of == number for number in range(NUM_PARTS if len(wanted) < FEW_ROWS else 1)]
        self.regressions = [Regression([part[~held] for part in parts], wanted[~held], kind) for held in splits]
        self.held = [[part[held] for part in parts] for held in splits]
        self.truth = torch.cat([wanted[held] for held in splits])
        self.sharpness = (1.0,) if kind is TaskKind.REGRESSION else SHARPNESS
        self.loss = loss_of(kind)

    def of(self, scales: list[float], starts: Sequence[Line] | None) -> _Tried:
        """Fit with these scales, from lines that are near."""
        lines = [
            regression.fit(scales, start=starts[number] if starts else None, tolerance=TOLERANCE_TO_CHOOSE)
            for number, regression in enumerate(self.regressions)
        ]
        answers = torch.cat([line.answers(parts) for line, parts in zip(lines, self.held, strict=True)])
        return _Tried(min(float(self.loss(answers * by, self.truth)) for by in self.sharpness), scales, lines)


def _scaled(scales: Sequence[float], numbers: Sequence[int], by: float) -> list[float]:
    """The scales with those of some parts multiplied."""
    return [scale * by if number in numbers else scale for number, scale in enumerate(scales)]
