"""Self-attention over masked tokens. Shapes: B rows, T tokens, D width, H heads, K head width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers.dropout import Dropout
from omnifuse.layers.masks import all_real
from omnifuse.layers.mlp import MLP
from omnifuse.layers.stochastic_depth import StochasticDepth


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot products of all heads.

    Args:
        queries: (B, H, T, K).
        keys: (B, H, S, K).
        values: (B, H, S, K).
        mask: (B, S) bool, True = real; None where all are. A row without real tokens gives finite values that nobody
            reads.

    Returns:
        (B, T, H x K).
    """
    allowed = None
    if mask is not None and not all_real(mask):
        allowed = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
    if queries.is_cuda:
        # cuDNN plans each new shape for tens of milliseconds; where rows are padded, nearly every batch has another one
        torch.backends.cuda.enable_cudnn_sdp(allowed is None)
    mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed)
    return mixed.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head attention among the real tokens of a row.

    Args:
        dim: D, a multiple of `num_heads`.
        num_heads: H.

    References: Vaswani et al. 2017, Attention Is All You Need, equation 1.
    """

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            tokens: (B, T, D).
            mask: (B, T) bool, True = real; None where all are. A row without real tokens gives finite values that
                nobody reads.

        Returns:
            (B, T, D).
        """
        num_rows, num_tokens, dim = tokens.shape
        # (B, T, 3D) -> three times (B, H, T, K)
        packed = self.queries_keys_values(tokens).view(num_rows, num_tokens, 3, self.num_heads, dim // self.num_heads)
        queries, keys, values = packed.permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.output(attend(queries, keys, values, mask))
        return out


class TransformerBlock(nn.Module):
    """Attention and MLP, each behind a norm and added to its input.

    Args:
        dim: D.
        num_heads: H.
        dropout: Of both added parts.
        expansion: Width of the MLP over D.
    """

    def __init__(self, dim: int, num_heads: int = 4, *, dropout: float = 0.0, expansion: float = 2.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * expansion), dim)
        self.dropout = Dropout(dropout)
        self.skip = StochasticDepth()

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) and (B, T) mask (None: all are real) to (B, T, D)."""
        tokens = tokens + self.skip(self.dropout(self.attention(self.attention_norm(tokens), mask)))
        out: Tensor = tokens + self.skip(self.dropout(self.mlp(self.mlp_norm(tokens))))
        return out


class GatedBlock(nn.Module):
    """The gated block `E(x) * Attention(E(x))`: features scaled by what attention finds in their context.

    Prefer it over `TransformerBlock` for very small data: it has no MLP of its own.

    Args:
        dim: D.
        num_heads: H.
        dropout: Of the product.
    """

    def __init__(self, dim: int, num_heads: int = 4, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.skip = StochasticDepth()

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) and (B, T) mask (None: all are real) to (B, T, D)."""
        scaled = self.dropout(tokens * self.attention(tokens, mask))
        if self.skip.acts:
            # There is no sum: what is passed by is the change of the tokens
            scaled = tokens + self.skip(scaled - tokens)
        out: Tensor = self.norm(scaled)
        return out
