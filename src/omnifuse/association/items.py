"""Which rows show the same item: they are partners of one another, never strangers. Shapes: N rows, K kinds of code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Items:
    """Codes of N rows.

    Two rows show the same item where any of their codes are equal: the same id, the same content of one field or of the
    other. That is no equivalence (a common caption joins two pictures, not all that else is said of them), so it is
    asked pair by pair, a block at a time, and never held for all N x N.

    Attributes:
        codes: (N, K) int64; a negative code equals no other one.
    """

    codes: Tensor

    @classmethod
    def all_different(cls, count: int, device: torch.device | None = None) -> Items:
        """Every row shows an item of its own."""
        return cls(torch.arange(count, device=device).unsqueeze(1))

    @classmethod
    def joined(cls, codes: Sequence[Tensor], count: int, device: torch.device | None = None) -> Items:
        """From any number of code vectors (N,); every row is the same as itself."""
        own = torch.arange(count, device=device)
        return cls(torch.stack([own, *(code.to(own.device) for code in codes)], dim=1))

    @property
    def size(self) -> int:
        """N."""
        return int(self.codes.shape[0])

    def rows(self, chosen: Tensor) -> Items:
        """Some rows, by a (N,) mask or by numbers."""
        return Items(self.codes[chosen])

    def same(self, rows: slice, columns: slice) -> Tensor:
        """(R, C) bool: which of some rows show the same item as which of others."""
        first, second = self.codes[rows], self.codes[columns]
        found = torch.zeros((first.shape[0], second.shape[0]), dtype=torch.bool, device=self.codes.device)
        for kind in range(self.codes.shape[1]):
            one = first[:, kind].unsqueeze(1)
            found |= (one == second[:, kind].unsqueeze(0)) & (one >= 0)
        return found

    def counts(self, block: int) -> Tensor:
        """(N,) int64: how many rows show the item of each, itself among them."""
        total = torch.zeros(self.size, dtype=torch.int64, device=self.codes.device)
        for rows in slices(self.size, block):
            for columns in slices(self.size, block):
                total[rows] += self.same(rows, columns).sum(dim=1)
        return total


def slices(count: int, size: int) -> list[slice]:
    """0 to `count` in pieces of at most `size`.

    Example:
        >>> slices(5, 2)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
