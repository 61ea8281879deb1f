"""Whether a space has collapsed, in numbers and in words. Shapes: N rows, S width of the space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Below these a space tells rows hardly apart: vectors all but equal, or all on a line or a plane
LEAST_DEVIATION, LEAST_RANK = 0.1, 2.0
# Fewer rows tell nothing of a space
FEWEST_ROWS = 8


@dataclass(frozen=True)
class Spread:
    """How a field's vectors fill the space.

    Attributes:
        effective_rank: Exponential of the entropy of the singular values: about how many dimensions are used.
        deviation: Mean deviation of a dimension, times the root of S: 1 where unit vectors point everywhere, 0 where
            all point one way.
        width: S.
        rows: N.
    """

    effective_rank: float
    deviation: float
    width: int
    rows: int

    @property
    def collapsed(self) -> bool:
        """Whether rows can hardly be told apart by these vectors."""
        if self.rows < FEWEST_ROWS:
            return False
        return self.deviation < LEAST_DEVIATION or (self.width > 2 and self.effective_rank < LEAST_RANK)

    def words(self, field: str) -> str:
        """What was found, in a sentence.

        Example:
            >>> Spread(1.2, 0.05, 64, 100).words("photo")
            "the space of 'photo' has collapsed: its vectors use 1.2 of 64 dimensions, with 5% of an even spread"
        """
        state = "has collapsed" if self.collapsed else "is spread out"
        return (
            f"the space of '{field}' {state}: its vectors use {self.effective_rank:.1f} of {self.width} dimensions, "
            f"with {self.deviation:.0%} of an even spread"
        )


def spread_of(vectors: Tensor) -> Spread:
    """How N unit vectors (N, S) fill their space.

    References: Roy and Vetterli 2007, The effective rank; Jing et al. 2022, Understanding Dimensional Collapse.
    """
    count, width = vectors.shape
    if count < 2:
        return Spread(0.0, 0.0, width, count)
    exact = vectors.detach().double().cpu()
    centred = exact - exact.mean(dim=0)
    sizes = torch.linalg.svdvals(centred)
    deviation = float((centred.square().mean(dim=0).sqrt() * width**0.5).mean())
    total = float(sizes.sum())
    if total <= 1e-9:
        return Spread(0.0, deviation, width, count)
    shares = sizes / total
    entropy = -float((shares * shares.clamp(min=1e-300).log()).sum())
    return Spread(float(torch.tensor(entropy).exp()), deviation, width, count)
