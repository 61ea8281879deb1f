"""The matching loss: do these two belong to one row? Shapes: N rows that have both fields, D width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from omnifuse.association.bilinear import LowRankBilinear
from omnifuse.association.pairs import PairLoss

RANK = 32


def hardest_strangers(similar: Tensor) -> tuple[Tensor, Tensor]:
    """(N, N) cosines to the (N,) column of each row, and the (N,) row of each column, most alike but not its own."""
    own = torch.eye(len(similar), dtype=torch.bool, device=similar.device)
    strange = similar.masked_fill(own, float("-inf"))
    return strange.argmax(dim=1), strange.argmax(dim=0)


class MatchingLoss(PairLoss):
    """Two classes, "one row" and "two rows", for each pair and its hardest strangers both ways (see `PairLoss`).

    Prefer it beside contrastive alignment: it reads two vectors together, so that it sees details which a cosine
    cannot.

    References: Li et al. 2021, Align before Fuse (ALBEF), section 3.2. Changed: the hardest stranger of the batch
    instead of a draw by likeness, so that equal batches give equal losses.
    """

    def __init__(self, fields: Sequence[str], dim: int, output_dim: int | None = None) -> None:
        super().__init__(fields, dim, output_dim)
        self.judge = LowRankBilinear(output_dim or dim, RANK, 1)

    def pair(self, first: Tensor, second: Tensor) -> Tensor:
        """Cross-entropy of N pairs (half of the weight) and 2 N strangers (the other half)."""
        with torch.no_grad():
            columns, rows = hardest_strangers(first @ second.T)
        paired = self.judge(first, second)
        strange = torch.cat([self.judge(first, second[columns]), self.judge(first[rows], second)])
        return 0.5 * (F.softplus(-paired).mean() + F.softplus(strange).mean())
