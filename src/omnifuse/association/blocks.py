"""Scores of all pairs, a block at a time: memory grows with N, not with N x N.

Shapes: N rows, D width, R rows and C columns of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from omnifuse.association.items import Items, slices

# Rows and columns of a block: 4 MB of scores, of which a few copies are held at a time
BLOCK = 1024
# A block's scores, and its rows and columns, to the gradient (R, C) of the loss in the scores
SlopeOf = Callable[[Tensor, slice, slice], Tensor]


def score_blocks(first: Tensor, second: Tensor, scale: Tensor, block: int) -> Iterator[tuple[Tensor, slice, slice]]:
    """Blocks of `scale * first @ second.T`, with the rows and columns that they stand for."""
    for rows in slices(len(first), block):
        for columns in slices(len(second), block):
            # Scaled afterwards: to scale the rows would round each of their numbers once more
            yield (first[rows] @ second[columns].T).mul_(scale), rows, columns


def pair_gradients(
    first: Tensor, second: Tensor, scale: Tensor, slope_of: SlopeOf, block: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of a sum over all pairs, from the slopes of each block, whose scores are computed anew.

    Args:
        first: (N, D).
        second: (N, D).
        scale: Scalar that the products are multiplied by.
        slope_of: Gives dL/dS of a block.
        block: Rows and columns of a block.

    Returns:
        dL/dfirst, dL/dsecond, the sum of slope x score (which is dL/dlog scale) and the sum of the slopes.
    """
    of_first, of_second = torch.zeros_like(first), torch.zeros_like(second)
    of_scale = torch.zeros((), dtype=torch.float64, device=first.device)
    of_bias = torch.zeros_like(of_scale)
    for scores, rows, columns in score_blocks(first, second, scale, block):
        slopes = slope_of(scores, rows, columns)
        of_first[rows] += slopes @ second[columns]
        of_second[columns] += slopes.T @ first[rows]
        of_scale += (slopes * scores).sum(dtype=torch.float64)
        of_bias += slopes.sum(dtype=torch.float64)
    return of_first * scale, of_second * scale, of_scale, of_bias


@torch.no_grad()
def hardest_strangers_of(first: Tensor, second: Tensor, items: Items, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The most alike row of the other field that shows another item, both ways.

    Args:
        first: (N, D) of unit length.
        second: (N, D) of unit length.
        items: Which rows show the same item.
        block: Rows and columns of a block.

    Returns:
        (N,) row of `second` for each of `first`, and (N,) row of `first` for each of `second`; -1 where there is no
        stranger.
    """
    one = torch.ones((), dtype=first.dtype, device=first.device)
    best = [torch.full((len(first),), float("-inf"), dtype=first.dtype, device=first.device) for _ in range(2)]
    found = [torch.full((len(first),), -1, dtype=torch.int64, device=first.device) for _ in range(2)]
    for scores, rows, columns in score_blocks(first, second, one, block):
        scores = scores.masked_fill(items.same(rows, columns), float("-inf"))
        for side, own, other, dim in ((0, rows, columns, 1), (1, columns, rows, 0)):
            value, index = scores.max(dim=dim)
            better = value > best[side][own]
            best[side][own] = torch.where(better, value, best[side][own])
            found[side][own] = torch.where(better, index + other.start, found[side][own])
    return found[0], found[1]
