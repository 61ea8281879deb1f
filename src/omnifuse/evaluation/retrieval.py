"""How well one field finds the other. Shapes: N rows, S width of the space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from omnifuse.association import Items
from omnifuse.association.items import slices

RANKS = (1, 5, 10)
BLOCK = 1024


@torch.no_grad()
def partner_ranks(queries: Tensor, gallery: Tensor, items: Items) -> Tensor:
    """(N,) int64 rank, from 1, of the best partner of each query among all rows of the gallery.

    Args:
        queries: (N, S) of unit length.
        gallery: (N, S) of unit length; row n, and every row that shows the same item, is a partner of query n.
        items: Which rows show the same item.

    Strangers as near as the best partner stand before it: a space in which all vectors are equal finds nothing.
    """
    ranks = torch.zeros(len(queries), dtype=torch.int64)
    everything = slice(0, len(gallery))
    for rows in slices(len(queries), BLOCK):
        scores = queries[rows].double() @ gallery.double().T
        same = items.same(rows, everything)
        best = scores.masked_fill(~same, -math.inf).amax(dim=1, keepdim=True)
        ranks[rows] = 1 + ((scores >= best) & ~same).sum(dim=1).cpu()
    return ranks


def retrieval_scores(queries: Tensor, gallery: Tensor, items: Items, ranks: Sequence[int] = RANKS) -> dict[str, Any]:
    """R@k, median rank, and R@k by chance.

    Returns:
        "rows", "R@1" and so on, "median_rank", "chance R@1" and so on.
    """
    found, count = partner_ranks(queries, gallery, items).double(), len(queries)
    partners = items.counts(BLOCK).tolist()
    scores: dict[str, Any] = {"rows": count, "median_rank": float(found.median()) if count else math.nan}
    for k in ranks:
        scores[f"R@{k}"] = float((found <= k).double().mean())
        scores[f"chance R@{k}"] = sum(_chance(count, good, k) for good in partners) / max(count, 1)
    return scores


def _chance(count: int, good: int, drawn: int) -> float:
    """Chance that some of `good` ones are among those drawn of all.

    Example:
        >>> _chance(10, 1, 5), _chance(4, 2, 1), _chance(3, 1, 5)
        (0.5, 0.5, 1.0)
    """
    drawn = min(drawn, count)
    return 1.0 if count - good < drawn else 1 - math.comb(count - good, drawn) / math.comb(count, drawn)
