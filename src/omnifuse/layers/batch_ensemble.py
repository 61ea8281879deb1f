"""A linear layer of several members that share one matrix. Shapes: B rows, E members, I and O widths."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchEnsembleLinear(nn.Module):
    """E linear layers whose matrices are one matrix between a member's own signs and scales.

    Member e computes `W (x * r_e) * s_e + b_e`: an ensemble for the cost of three vectors a member.

    Args:
        input_dim: I.
        output_dim: O.
        num_members: E.
        apart: Whether r starts with random signs, so that members differ from the first step on; else with ones.

    Shape: (B, E, I) to (B, E, O).

    References: Wen et al. 2020, BatchEnsemble, equation 5; Gorishniy et al. 2024, TabM (arXiv:2410.24210), section 3.3:
    random signs at the first adapter alone, ones at all others.
    """

    def __init__(self, input_dim: int, output_dim: int, num_members: int, *, apart: bool = False) -> None:
        super().__init__()
        # A linear layer, so that the optimiser decays its matrix as it does others
        self.shared = nn.Linear(input_dim, output_dim, bias=False)
        signs = torch.randint(0, 2, (num_members, input_dim)) * 2.0 - 1.0
        self.inner = nn.Parameter(signs if apart else torch.ones(num_members, input_dim))
        self.outer = nn.Parameter(torch.ones(num_members, output_dim))
        self.bias = nn.Parameter(torch.empty(num_members, output_dim).uniform_(-1, 1) / max(input_dim, 1) ** 0.5)

    def forward(self, values: Tensor) -> Tensor:
        """Apply each member's layer to its values."""
        out: Tensor = self.shared(values * self.inner) * self.outer + self.bias
        return out
