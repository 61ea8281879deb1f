"""One number a row, standardised by the training rows. Shapes: B rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers import MLP
from omnifuse.schema import Target, TaskKind
from omnifuse.tasks.heads import Heads, TaskOutput, each_member, joined, weighted_mean, with_auxiliary
from omnifuse.tokens import Fused, Tokens

# Of the spread in the loss: it shares the limit on the gradient with the value, which matters more
SPREAD_WEIGHT = 0.2


class RegressionTask(nn.Module):
    """Huber loss on the standardised number: squared within 2 deviations, so that single wild labels weigh less.

    Beside the value stands a spread: the size of the value's own error, learnt from the detached representation and
    error, so that the value is learnt as without it. The readout turns it into an interval.

    Args:
        target: Its name.
        dim: D.
        fields: Fields in a fixed order.
        dropout: Of the heads.
        pooling: Of the field heads.
        auxiliary: Weight of the field heads' mean loss.
        label_smoothing: Not used; the same arguments as every task.
        members: Field to the number of its encoder's members, see `Heads`.
    """

    kind = TaskKind.REGRESSION
    num_outputs = 1

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
        self.name, self.auxiliary = target.name, auxiliary
        self.heads = Heads(dim, 1, fields, dropout=dropout, pooling=pooling, members=members)
        # Drawn aside, so that whatever is built after it starts as it would without it
        with torch.random.fork_rng(devices=[]):
            self.doubt = nn.Sequential(nn.LayerNorm(dim), MLP(dim, dim, 1))

    @staticmethod
    def dense_target(target: Tensor) -> Tensor:
        """(B,) standardised numbers to (B, 1), NaN where missing."""
        return target.unsqueeze(1)

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens], target: Tensor | None = None, weights: Tensor | None = None
    ) -> TaskOutput:
        """Values (B, 1), and the loss where a target (B,) is given; NaN is missing.

        Raises:
            ValueError: The target has another shape.
        """
        values, answers, present = self.heads(fused, tokens)
        spread = F.softplus(self.doubt(fused.pooled.detach()).float().squeeze(1))
        found = {name: joined(self.kind, item) for name, item in answers.items()}
        if target is None:
            return TaskOutput(values, found, present, spread=spread)
        if target.shape != values.shape[:1]:
            raise ValueError(
                f"the target of '{self.name}' is {tuple(target.shape)}, expected {tuple(values.shape[:1])}"
            )
        known = ~target.isnan()
        row_weights = known.to(torch.float32) if weights is None else known * weights
        truth = torch.nan_to_num(target).to(torch.float32)
        fused_loss = self._loss(values, truth, row_weights) + SPREAD_WEIGHT * self._spread_loss(
            spread, values, truth, row_weights
        )
        parts = {name: each_member(self._loss, answers[name], truth, row_weights * present[name]) for name in answers}
        loss = with_auxiliary(fused_loss, parts, self.auxiliary)
        return TaskOutput(values, found, present, loss, fused_loss, spread, parts)

    @staticmethod
    def _loss(values: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
        losses = F.huber_loss(values.float().squeeze(1), truth, reduction="none", delta=2.0)
        return weighted_mean(losses, weights)

    @staticmethod
    def _spread_loss(spread: Tensor, values: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
        error = (values.detach().float().squeeze(1) - truth).abs()
        return weighted_mean(F.huber_loss(spread, error, reduction="none"), weights)
