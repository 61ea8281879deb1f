"""Attention of some tokens to others. Shapes: B rows, T tokens, S context tokens, D width, H heads, K head width."""

from __future__ import annotations

from torch import Tensor, nn

from omnifuse.layers.attention import attend
from omnifuse.layers.dropout import Dropout
from omnifuse.layers.mlp import MLP
from omnifuse.layers.stochastic_depth import StochasticDepth


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to the real tokens of a context.

    Args:
        dim: D, a multiple of `num_heads`.
        num_heads: H.

    References: Vaswani et al. 2017, Attention Is All You Need, section 3.2.3.
    """

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.queries = nn.Linear(dim, dim)
        self.keys_values = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            tokens: (B, T, D).
            context: (B, S, D).
            mask: (B, S) bool of the context, True = real; None where all are. A row without real ones gives finite
                values that nobody reads.

        Returns:
            (B, T, D).
        """
        return self.ask(tokens, self.project(context), mask)

    def project(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, K) of a context (B, S, D), to be asked again and again."""
        num_rows, num_places, dim = context.shape
        packed = self.keys_values(context).view(num_rows, num_places, 2, self.num_heads, dim // self.num_heads)
        keys, values = packed.permute(2, 0, 3, 1, 4).unbind(0)
        return keys, values

    def ask(self, tokens: Tensor, projected: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """As `forward`, of a context that `project` has seen."""
        num_rows, num_tokens, dim = tokens.shape
        queries = self.queries(tokens).view(num_rows, num_tokens, self.num_heads, dim // self.num_heads)
        out: Tensor = self.output(attend(queries.transpose(1, 2), *projected, mask))
        return out


class CrossBlock(nn.Module):
    """Attention to a context and MLP, each behind a norm and added to its input.

    Args:
        dim: D.
        num_heads: H.
        dropout: Of both added parts.
        expansion: Width of the MLP over D.
    """

    def __init__(self, dim: int, num_heads: int = 4, *, dropout: float = 0.0, expansion: float = 2.0) -> None:
        super().__init__()
        self.tokens_norm = nn.LayerNorm(dim)
        self.context_norm = nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, num_heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * expansion), dim)
        self.dropout = Dropout(dropout)
        self.skip = StochasticDepth()

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D), (B, S, D) and the context's (B, S) mask (None: all are real) to (B, T, D)."""
        attended = self.attention(self.tokens_norm(tokens), self.context_norm(context), mask)
        tokens = tokens + self.skip(self.dropout(attended))
        out: Tensor = tokens + self.skip(self.dropout(self.mlp(self.mlp_norm(tokens))))
        return out
