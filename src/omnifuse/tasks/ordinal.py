"""One of several ordered levels a row. Shapes: B rows, C levels, C - 1 thresholds between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.schema import Target, TaskKind
from omnifuse.tasks.classification import class_shares, dense_shares
from omnifuse.tasks.heads import Heads, TaskOutput, each_member, joined, weighted_mean, with_auxiliary
from omnifuse.tokens import Fused, Tokens

# No level is ever closed wholly: its log-probability and the gradient stay finite
LEAST_GAP = 1e-3
# Thresholds move so many times as fast as other parameters: a score is a sum over the whole width, a threshold is not
STRIDE = 10.0


class OrdinalTask(nn.Module):
    """Proportional odds: one score a row, cut into levels by ordered thresholds.

    Prefer it to classification where being off by two levels is worse than by one, and above all with few rows: each
    level costs one threshold instead of a weight vector. Every head has thresholds of its own, since a head that knows
    little has a narrow score. The outputs are log-probabilities of the levels.

    Args:
        target: Its classes, from the lowest level on, give C.
        dim: D.
        fields: Fields in a fixed order.
        dropout: Of the heads.
        pooling: Of the field heads.
        auxiliary: Weight of the field heads' mean loss.
        label_smoothing: Share of the label that goes to the neighbouring levels.
        members: Field to the number of its encoder's members, see `Heads`.

    References: McCullagh 1980, Regression Models for Ordinal Data, section 2; Cheng et al. 2008, A neural network
    approach to ordinal regression. Smoothing: Diaz and Marathe 2019, Soft Labels for Ordinal Regression (neighbours
    alone here).
    """

    kind = TaskKind.ORDINAL
    class_weights: Tensor
    neighbours: Tensor

    def __init__(
        self,
        target: Target,
        dim: int,
        fields: Sequence[str],
        *,
        dropout: float = 0.0,
        pooling: str = "attention",
        auxiliary: float = 0.5,
        label_smoothing: float = 0.0,
        members: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.num_outputs = target.name, len(target.classes)
        self.auxiliary, self.label_smoothing = auxiliary, label_smoothing
        self.heads = Heads(dim, 1, fields, dropout=dropout, pooling=pooling, members=members)
        count, num_heads = self.num_outputs, 1 + len(self.heads.fields)
        # Levels start equally likely
        cuts = torch.tensor([math.log(k / (count - k)) for k in range(1, count)])
        self.lowest = nn.Parameter(cuts[:1].repeat(num_heads) / STRIDE)
        self.gaps = nn.Parameter(cuts.diff().expm1().log().repeat(num_heads, 1) / STRIDE)
        self.register_buffer("class_weights", torch.ones(count), persistent=False)
        self.register_buffer("neighbours", _neighbours(count), persistent=False)

    def soft_target(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) codes or (B, C) shares to (B, C) shares and (B,) bool of the known rows."""
        return class_shares(target, self.num_outputs)

    def dense_target(self, target: Tensor) -> Tensor:
        """(B,) codes to (B, C) shares, NaN where missing."""
        return dense_shares(target, self.num_outputs)

    def thresholds(self, head: int) -> Tensor:
        """(C - 1,) rising thresholds of a head: 0 is the fused one, then those of the fields."""
        return ordered_thresholds(self.lowest[head], self.gaps[head])

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens], target: Tensor | None = None, weights: Tensor | None = None
    ) -> TaskOutput:
        """Log-probabilities (B, C) of the levels, and the loss where a target is given.

        Args:
            fused: The unified representation.
            tokens: Tokens of each field.
            target: (B,) int64 levels, -1 = missing, or (B, C) shares after mixup.
            weights: (B,) row weights.
        """
        score, scores, present = self.heads(fused, tokens)
        levels = log_probabilities(score, self.thresholds(0))
        answers = {
            name: log_probabilities(scores[name], self.thresholds(1 + self.heads.fields.index(name))) for name in scores
        }
        found = {name: joined(self.kind, item) for name, item in answers.items()}
        if target is None:
            return TaskOutput(levels, found, present)
        soft, known = self.soft_target(target)
        row_weights = known.to(torch.float32) * (soft @ self.class_weights)
        if weights is not None:
            row_weights = row_weights * weights
        smooth = soft * (1 - self.label_smoothing) + (soft @ self.neighbours) * self.label_smoothing
        fused_loss = self._loss(levels, smooth, row_weights)
        parts = {name: each_member(self._loss, answers[name], smooth, row_weights * present[name]) for name in answers}
        loss = with_auxiliary(fused_loss, parts, self.auxiliary)
        return TaskOutput(levels, found, present, loss, fused_loss, field_losses=parts)

    @staticmethod
    def _loss(levels: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
        return weighted_mean(-(shares * levels).sum(dim=1), weights)


def ordered_thresholds(lowest: Tensor, gaps: Tensor) -> Tensor:
    """(C - 1,) rising thresholds from the lowest one () and unbounded gaps (C - 2,), both in units of `STRIDE`."""
    first = STRIDE * lowest.float()
    steps = F.softplus(STRIDE * gaps.float()) + LEAST_GAP
    return torch.cat([first.reshape(1), first + steps.cumsum(dim=0)])


def log_probabilities(score: Tensor, thresholds: Tensor) -> Tensor:
    """Log-probability of each level: logistic noise on the score falls between two thresholds.

    Args:
        score: (..., 1).
        thresholds: (C - 1,), rising.

    Returns:
        (..., C), float32. Written so that no difference of two nearly equal probabilities is ever taken:
        s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)).
    """
    below = thresholds - score.float()
    log_below, log_above = F.logsigmoid(below), F.logsigmoid(-below)
    inner = log_below[..., 1:] + log_above[..., :-1] + (-torch.expm1(-thresholds.diff())).log()
    return torch.cat([log_below[..., :1], inner, log_above[..., -1:]], dim=-1)


def _neighbours(count: int) -> Tensor:
    """(C, C): where a smoothed level's share goes, half to either side; an end has one side only."""
    near = torch.ones(count, count).triu(1).tril(1)
    near = near + near.T
    return near / near.sum(dim=1, keepdim=True)
