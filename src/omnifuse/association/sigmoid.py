"""The pairwise sigmoid loss: is this a pair, asked of all pairs alone. Shapes: N rows, D width."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from omnifuse.association.blocks import BLOCK, pair_gradients, score_blocks
from omnifuse.association.contrastive import HOTTEST
from omnifuse.association.info_nce import whole
from omnifuse.association.items import Items


def sigmoid_loss(
    first: Tensor,
    second: Tensor,
    log_scale: Tensor,
    bias: Tensor,
    items: Items | None = None,
    *,
    block: int = BLOCK,
) -> Tensor:
    """Minus the mean over rows of the log-likelihood of all N x N answers "pair" or "no pair".

    Args:
        first: (N, D) of unit length.
        second: (N, D) of unit length.
        log_scale: Logarithm of the factor of the cosines.
        bias: Added to the scaled cosines: most pairs are none.
        items: Which rows show the same item; None: each its own.
        block: Rows and columns of a block: memory is that of a few blocks and of N x D.

    Returns:
        Scalar; 0 for N = 0.

    References: Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), algorithm 1.
    Changed: every pair of rows that show the same item is a pair.
    """
    known = items if items is not None else Items.all_different(len(first), first.device)
    found: Tensor = _Sigmoid.apply(first, second, log_scale, bias, known, block)  # type: ignore[no-untyped-call]
    return found


class _Sigmoid(torch.autograd.Function):
    """Keeps the vectors alone; scores are computed anew on the way back."""

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor, log_scale: Tensor, bias: Tensor, items: Items, block: int
    ) -> Tensor:
        with torch.autocast(first.device.type, enabled=False):
            first, second = whole(first), whole(second)
            scale, shift = log_scale.detach().double().exp().to(first.dtype), bias.detach().to(first.dtype)
            total = torch.zeros((), dtype=torch.float64, device=first.device)
            for scores, rows, columns in score_blocks(first, second, scale, block):
                signs = _signs(items, rows, columns, scores.dtype)
                total -= F.logsigmoid(signs * (scores + shift)).sum(dtype=torch.float64)
        ctx.save_for_backward(first, second, scale, shift)
        ctx.items, ctx.block, ctx.like = items, block, (log_scale, bias)
        return (total / max(len(first), 1)).to(first.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        first, second, scale, shift = ctx.saved_tensors
        items: Items = ctx.items
        unit = slope / max(len(first), 1)

        def slope_of(scores: Tensor, rows: slice, columns: slice) -> Tensor:
            signs = _signs(items, rows, columns, scores.dtype)
            return torch.sigmoid(-signs * (scores + shift)).mul_(signs).mul_(-unit)

        of_first, of_second, of_scale, of_bias = pair_gradients(first, second, scale, slope_of, ctx.block)
        like_scale, like_bias = ctx.like
        return (
            of_first,
            of_second,
            of_scale.to(like_scale.dtype).reshape(like_scale.shape),
            of_bias.to(like_bias.dtype).reshape(like_bias.shape),
            None,
            None,
        )


def _signs(items: Items, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
    """(R, C): 1 for pairs, -1 for strangers."""
    return items.same(rows, columns).to(dtype) * 2 - 1


class SigmoidObjective(nn.Module):
    """The pairwise sigmoid loss between two fields with learned scale and bias.

    Prefer it to InfoNCE where batches are small or many rows show like items: each pair is judged alone, so that one
    false stranger costs little.

    Args:
        dim: D, unused; objectives are built alike.

    Shape: (N, D), (N, D) of unit length and `Items` of N rows to a scalar.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, first: Tensor, second: Tensor, items: Items) -> Tensor:
        """The loss."""
        return sigmoid_loss(first, second, self.log_scale.clamp(max=HOTTEST), self.bias, items)
