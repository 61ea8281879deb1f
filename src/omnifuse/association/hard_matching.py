"""Matching with hard strangers: two classes, "one item" and "two items". Shapes: N rows, D width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.association.bilinear import LowRankBilinear
from omnifuse.association.blocks import BLOCK, hardest_strangers_of
from omnifuse.association.items import Items
from omnifuse.association.matching import RANK


class MatchingObjective(nn.Module):
    """A judge of two vectors sees each pair and its hardest strangers both ways, never a row that shows the same item.

    Prefer it beside InfoNCE, which finds the strangers that are worth a look. Strangers are sought a block of scores at
    a time and 3 N pairs are judged, so memory is linear in N.

    Args:
        dim: D.

    Shape: (N, D), (N, D) of unit length and `Items` of N rows to a scalar.

    References: Li et al. 2021, Align before Fuse (ALBEF, arXiv:2107.07651), section 3.2. Changed: the hardest stranger
    instead of a draw by likeness, so that equal batches give equal losses; a low-rank bilinear judge.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.judge = LowRankBilinear(dim, RANK, 1)

    def forward(self, first: Tensor, second: Tensor, items: Items, *, block: int = BLOCK) -> Tensor:
        """Cross-entropy of the pairs (half of the weight) and of their strangers (the other half)."""
        columns, rows = hardest_strangers_of(first.detach().float(), second.detach().float(), items, block)
        paired = F.softplus(-self.judge(first, second)).mean()
        strange = torch.cat(
            [
                self.judge(first[columns >= 0], second[columns[columns >= 0]]),
                self.judge(first[rows[rows >= 0]], second[rows >= 0]),
            ]
        )
        # Where all rows show one item there is no stranger to tell apart
        return 0.5 * paired + 0.5 * F.softplus(strange).sum() / max(len(strange), 1)
