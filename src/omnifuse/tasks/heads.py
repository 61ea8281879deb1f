"""Heads on the fused vector and, as auxiliary objective, on each single field.

Shapes: B rows, E members, C outputs, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers import POOLINGS, Dropout
from omnifuse.schema import TaskKind
from omnifuse.tokens import Fused, Tokens

# Answers (N, C), targets (N, ...) and weights (N,) to a scalar
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TaskOutput:
    """What a task answers.

    Attributes:
        fused: (B, C) of the fused head.
        fields: Field to (B, C) of its own head; rows without the field hold numbers that nobody reads.
        present: Field to (B,) bool.
        loss: Scalar, None where no target was given.
        fused_loss: The fused head's part of `loss`, for logs.
        spread: For regression, (B,) the error that the task expects of `fused`.
        field_losses: Field to its own head's loss, which `loss` holds by weight.
    """

    fused: Tensor
    fields: dict[str, Tensor]
    present: dict[str, Tensor]
    loss: Tensor | None = None
    fused_loss: Tensor | None = None
    spread: Tensor | None = None
    field_losses: dict[str, Tensor] = field(default_factory=dict)


class Heads(nn.Module):
    """A linear head on the unified representation and one on each field's pooled tokens.

    Where an encoder is an ensemble, its field's head is one linear layer a member, on the member's own token, and such
    a field has a head even where it is alone.

    Args:
        dim: D.
        output_dim: C.
        fields: Fields in a fixed order; with one field alone no field head is made, unless it has members.
        dropout: Before the linear layers.
        pooling: Name in `layers.POOLINGS` for the field heads.
        members: Field to the number of its encoder's members, for those that are ensembles.
    """

    def __init__(
        self,
        dim: int,
        output_dim: int,
        fields: Sequence[str],
        *,
        dropout: float = 0.0,
        pooling: str = "attention",
        members: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        of_field = members or {}
        self.fields = tuple(name for name in fields if len(fields) > 1 or name in of_field)
        self.fused = nn.Sequential(nn.LayerNorm(dim), Dropout(dropout), nn.Linear(dim, output_dim))
        self.pools = nn.ModuleList(EachMember() if name in of_field else POOLINGS[pooling](dim) for name in self.fields)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(dim),
                Dropout(dropout),
                MemberLinear(dim, output_dim, of_field[name]) if name in of_field else nn.Linear(dim, output_dim),
            )
            for name in self.fields
        )

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Outputs (B, C) of the fused head, (B, C) or (B, E, C) of the field heads, and which rows have each field."""
        answers, present = {}, {}
        for index, name in enumerate(self.fields):
            if name in tokens:
                item = tokens[name]
                answers[name] = self.heads[index](self.pools[index](item.values, item.mask))
                present[name] = item.mask.any(dim=1)
        return self.fused(fused.pooled), answers, present


def task_fields(task: nn.Module) -> tuple[str, ...]:
    """The fields that have heads of their own in a task; none where it writes."""
    heads = getattr(task, "heads", None)
    return () if heads is None else tuple(heads.fields)


class EachMember(nn.Module):
    """Instead of a pooling: every token, each of which is a member's."""

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, E, D) as it is."""
        return values


class MemberLinear(nn.Module):
    """A linear layer a member: (B, E, D) to (B, E, C)."""

    def __init__(self, dim: int, output_dim: int, num_members: int) -> None:
        super().__init__()
        bound = dim**-0.5
        self.weight = nn.Parameter(torch.empty(num_members, dim, output_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_members, output_dim).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        """Each member's token by its own layer."""
        return torch.einsum("bed,edc->bec", values, self.weight) + self.bias


def each_member(loss: Loss, answers: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean loss of answers (B, C), or of each member's (B, E, C) by itself: members must not lean on one another.

    Args:
        loss: Of answers (N, C), targets (N, ...) and weights (N,).
        answers: Of a head.
        target: (B, ...).
        weights: (B,).
    """
    if answers.ndim == 2:
        return loss(answers, target, weights)
    members = answers.shape[1]
    return loss(answers.flatten(0, 1), target.repeat_interleave(members, 0), weights.repeat_interleave(members))


def joined(kind: TaskKind, answers: Tensor) -> Tensor:
    """(B, E, C) to (B, C): logits of the members' mean probability, or their mean value; (B, C) stays."""
    if answers.ndim == 2 or kind is TaskKind.REGRESSION:
        return answers if answers.ndim == 2 else answers.mean(dim=1)
    if kind.chooses_class:
        return answers.float().log_softmax(dim=2).logsumexp(dim=1) - math.log(answers.shape[1])
    return F.logsigmoid(answers.float()).logsumexp(dim=1) - F.logsigmoid(-answers.float()).logsumexp(dim=1)


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Mean of (B,) losses by (B,) weights; 0 with a graph where all weights are 0."""
    return torch.where(weights > 0, losses * weights, 0.0).sum() / weights.sum().clamp(min=1e-6)


def with_auxiliary(fused: Tensor, fields: Mapping[str, Tensor], weight: float) -> Tensor:
    """The fused head's loss plus the weighted mean of the field heads' losses."""
    if not fields or weight == 0:
        return fused
    return fused + weight * torch.stack(list(fields.values())).mean()
