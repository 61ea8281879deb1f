"""Two linear layers with GELU between."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers.dropout import Dropout


class MLP(nn.Module):
    """(..., input) to (..., output) through `hidden`; the tanh form of GELU is the quicker one on processors."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(input_dim, hidden_dim)
        self.outer = nn.Linear(hidden_dim, output_dim)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Apply to the last axis."""
        out: Tensor = self.outer(self.dropout(F.gelu(self.inner(values), approximate="tanh")))
        return out
