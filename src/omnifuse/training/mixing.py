"""Mixup across the whole row, on the fields' tokens. Shapes: B rows, T tokens, D width, C classes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from omnifuse.tokens import Tokens


def mixup_pairs(draw: np.random.Generator, num_rows: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Who is mixed with whom, and how much of the row itself stays.

    Args:
        draw: Randomness.
        num_rows: B.
        alpha: Of the Beta distribution; small values mix little.

    Returns:
        Partner (B,) int64 and weight (B,) float32 in 0.5 to 1: a row stays mainly itself.
    """
    weight = draw.beta(alpha, alpha, num_rows).astype(np.float32)
    return torch.from_numpy(draw.permutation(num_rows)), torch.from_numpy(np.maximum(weight, 1 - weight))


def mix_tokens(tokens: dict[str, Tokens], partner: Tensor, weight: Tensor) -> dict[str, Tokens]:
    """Each row's tokens mixed with its partner's.

    Where both tokens are real they are mixed by weight; where one alone is real it stays whole, so that a missing
    field takes over the partner's.

    Args:
        tokens: Field to (B, T, D) with mask.
        partner: (B,) row numbers.
        weight: (B,) share of the row itself.

    Returns:
        The same shapes; the mask is the union of both.

    References: Zhang et al. 2018, mixup; Verma et al. 2019, Manifold Mixup (on hidden features).
    """
    mixed = {}
    for name, item in tokens.items():
        index = partner.to(item.values.device)
        other, other_mask = item.values[index], item.mask[index]
        share = weight.to(item.values)[:, None, None].expand_as(item.values[..., :1])
        own = torch.where(other_mask.unsqueeze(-1), share, 1.0) * item.mask.unsqueeze(-1)
        theirs = torch.where(item.mask.unsqueeze(-1), 1.0 - share, 1.0) * other_mask.unsqueeze(-1)
        mixed[name] = Tokens(item.values * own + other * theirs, item.mask | other_mask)
    return mixed


def mix_soft_targets(targets: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """(B, C) targets mixed with the partners' by (B,) weight."""
    share = weight.to(targets)[:, None]
    return share * targets + (1 - share) * targets[partner.to(targets.device)]
