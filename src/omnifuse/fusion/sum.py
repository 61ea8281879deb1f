"""The additive model: the field vectors are summed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from omnifuse.fusion.base import AbsentTokens
from omnifuse.tokens import Fused, Tokens


class SumFusion(nn.Module):
    """`M(x, I, A) = M_text(x) + M_image(I) + M_audio(A)`: each field's mean token, summed.

    Prefer it where fields add up independently and for reading off what each gives; it cannot express that one field
    changes the meaning of another.

    Args:
        dim: D.
        fields: All fields.
        num_heads: Not used; the same arguments as every fusion.
        depth: Not used.
        dropout: Not used.

    Shape: dict of (B, T, D) with masks to pooled (B, D).
    """

    def __init__(
        self, dim: int, fields: Sequence[str], *, num_heads: int = 4, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.absent = AbsentTokens(fields, dim)

    def forward(self, tokens: dict[str, Tokens]) -> Fused:
        """Any subset of the fields to one vector; an absent field adds its learned vector."""
        vectors, _ = self.absent.pooled(tokens)
        return Fused(*self.absent.joined(tokens), vectors.sum(dim=1))
