"""InfoNCE over large batches: several partners a row, memory linear in the batch. Shapes: N rows, D width."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from omnifuse.association.blocks import BLOCK, pair_gradients, score_blocks
from omnifuse.association.contrastive import HOTTEST
from omnifuse.association.items import Items

# Deviation of the first scores of strangers, and the largest first scale (that of CLIP)
FIRST_DEVIATION, SHARPEST_START = 0.5, 1 / 0.07


def info_nce(
    first: Tensor, second: Tensor, log_scale: Tensor, items: Items | None = None, *, block: int = BLOCK
) -> Tensor:
    """Symmetric InfoNCE with several partners a row, a block of scores at a time.

    Of row n it is the log-sum-exp of its scores with all rows, less its mean score with its partners: the rows that
    show the same item. With one partner a row it equals `contrastive_loss`.

    Args:
        first: (N, D) of unit length.
        second: (N, D) of unit length.
        log_scale: Logarithm of one over the temperature.
        items: Which rows show the same item; None: each its own.
        block: Rows and columns of a block: memory is that of a few blocks and of N x D.

    Returns:
        Scalar: mean over both ways; 0 for N = 0.

    References: van den Oord et al. 2018 (InfoNCE); Khosla et al. 2020, Supervised Contrastive Learning, equation 2
    (several partners); Milakov and Gimelshein 2018, Online normalizer calculation for softmax (the running sums).
    """
    known = items if items is not None else Items.all_different(len(first), first.device)
    found: Tensor = _InfoNCE.apply(first, second, log_scale, known, block)  # type: ignore[no-untyped-call]
    return found


class _InfoNCE(torch.autograd.Function):
    """Keeps the vectors and 3 N numbers; scores are computed anew on the way back."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, log_scale: Tensor, items: Items, block: int) -> Tensor:
        with torch.autocast(first.device.type, enabled=False):
            first, second = whole(first), whole(second)
            scale = log_scale.detach().double().exp().to(first.dtype)
            count = len(first)
            # Running sums in float64: their difference from the partners' scores may be small
            rows_sum, columns_sum = (
                torch.full((count,), -math.inf, dtype=torch.float64, device=first.device) for _ in range(2)
            )
            shares = 1.0 / items.counts(block).double()
            matched = torch.zeros((), dtype=torch.float64, device=first.device)
            for scores, rows, columns in score_blocks(first, second, scale, block):
                rows_sum[rows] = torch.logaddexp(rows_sum[rows], _log_sum(scores, 1))
                columns_sum[columns] = torch.logaddexp(columns_sum[columns], _log_sum(scores, 0))
                matched += (scores * _wanted(items, shares, rows, columns, scores.dtype)).sum(dtype=torch.float64)
            total = (rows_sum.sum() + columns_sum.sum() - matched) / (2 * max(count, 1))
        ctx.save_for_backward(first, second, scale, rows_sum, columns_sum, shares)
        ctx.items, ctx.block, ctx.like = items, block, log_scale
        return total.to(first.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        first, second, scale, rows_sum, columns_sum, shares = ctx.saved_tensors
        items: Items = ctx.items
        unit = slope / (2 * max(len(first), 1))
        (row_norms, row_rest), (column_norms, column_rest) = _split(rows_sum, first), _split(columns_sum, first)

        def slope_of(scores: Tensor, rows: slice, columns: slice) -> Tensor:
            chances = (scores - row_norms[rows, None]).exp_().mul_(row_rest[rows, None])
            chances += (scores - column_norms[None, columns]).exp_().mul_(column_rest[None, columns])
            return chances.sub_(_wanted(items, shares, rows, columns, scores.dtype)).mul_(unit)

        of_first, of_second, of_scale, _ = pair_gradients(first, second, scale, slope_of, ctx.block)
        return of_first, of_second, of_scale.to(ctx.like.dtype).reshape(ctx.like.shape), None, None


def _log_sum(scores: Tensor, dim: int) -> Tensor:
    """Log-sum-exp in float64 of scores whose exponentials are taken in their own precision."""
    top = scores.amax(dim=dim, keepdim=True)
    return (scores - top).exp_().sum(dim=dim).double().log_() + top.squeeze(dim).double()


def _split(norms: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Norms in the precision of the scores, and the factor by which exponentials less these norms are too large."""
    rounded = norms.to(like.dtype)
    return rounded, (rounded.double() - norms).exp().to(like.dtype)


def _wanted(items: Items, shares: Tensor, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
    """(R, C) share of a pair among the partners of its row plus that among those of its column, 0 for strangers."""
    both = (shares[rows, None] + shares[None, columns]).to(dtype)
    return both * items.same(rows, columns)


def whole(vectors: Tensor) -> Tensor:
    """Without a graph, in at least float32: half precision orders strangers wrongly."""
    vectors = vectors.detach()
    return vectors.float() if vectors.dtype in (torch.float16, torch.bfloat16) else vectors


class ContrastiveObjective(nn.Module):
    """InfoNCE between two fields with a learned temperature: find the partner among all rows.

    Prefer it for retrieval with large batches. The temperature is held above 0.01. It starts where the scores of
    strangers deviate by a half, but no lower than at 0.07: cosines of random vectors deviate by the root of 1 / D, and
    where their scores differ by more, the steepest way down is at first to draw all scores together, which costs steps.

    Args:
        dim: D.

    Shape: (N, D), (N, D) of unit length and `Items` of N rows to a scalar.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(min(FIRST_DEVIATION * dim**0.5, SHARPEST_START))))

    def forward(self, first: Tensor, second: Tensor, items: Items) -> Tensor:
        """The loss."""
        return info_nce(first, second, self.log_scale.clamp(max=HOTTEST), items)
