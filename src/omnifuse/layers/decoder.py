"""A causal transformer that reads a context. Shapes: B rows, T tokens, S context tokens, D width, H heads, K, V ids."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers.cross import CrossAttention
from omnifuse.layers.dropout import Dropout
from omnifuse.layers.mlp import MLP
from omnifuse.layers.positions import sinusoids

Projected = tuple[Tensor, Tensor]


class CausalAttention(nn.Module):
    """Multi-head attention of each token to itself and those before it.

    Padding needs no mask where it stands behind the tokens: no real token sees it.

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
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, past: Projected | None = None) -> tuple[Tensor, Projected]:
        """Attend.

        Args:
            tokens: (B, T, D).
            past: Keys and values (B, H, S, K) of the S tokens before these, or None.

        Returns:
            (B, T, D), and the keys and values (B, H, S + T, K) for the tokens behind these.
        """
        num_rows, num_tokens, dim = tokens.shape
        # (B, T, 3D) -> three times (B, H, T, K)
        packed = self.queries_keys_values(tokens).view(num_rows, num_tokens, 3, self.num_heads, dim // self.num_heads)
        queries, keys, values = packed.permute(2, 0, 3, 1, 4).unbind(0)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        before, allowed = keys.shape[2] - num_tokens, None
        if num_tokens > 1 and before:
            places = torch.arange(keys.shape[2], device=tokens.device)
            allowed = places[None, :] <= before + torch.arange(num_tokens, device=tokens.device)[:, None]
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=allowed, is_causal=num_tokens > 1 and not before
        )
        return self.output(mixed.transpose(1, 2).flatten(2)), (keys, values)


@dataclass(frozen=True)
class DecoderState:
    """What N texts in the making remember.

    Attributes:
        past: Of each block, keys and values (N, H, T, K) of the ids so far; None before the first.
        context: Of each block, keys and values (N, H, S, K) of the context.
        mask: (N, S) bool of the context, True = real.
        length: T.
    """

    past: tuple[Projected | None, ...]
    context: tuple[Projected, ...]
    mask: Tensor
    length: int = 0

    def take(self, index: Tensor, *, same_context: bool = False) -> DecoderState:
        """The texts of these numbers, in this order.

        Args:
            index: (M,) int64.
            same_context: Whether each text is replaced by one of the same context, which then need not be moved.
        """
        past = tuple(None if pair is None else (pair[0][index], pair[1][index]) for pair in self.past)
        if same_context:
            return DecoderState(past, self.context, self.mask, self.length)
        context = tuple((keys[index], values[index]) for keys, values in self.context)
        return DecoderState(past, context, self.mask[index], self.length)


class DecoderBlock(nn.Module):
    """Causal attention, attention to the context and MLP, each behind a norm and added to its input.

    Args:
        dim: D.
        num_heads: H.
        dropout: Of the added parts.
        expansion: Width of the MLP over D.
    """

    def __init__(self, dim: int, num_heads: int = 4, *, dropout: float = 0.0, expansion: float = 2.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = CausalAttention(dim, num_heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross = CrossAttention(dim, num_heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * expansion), dim)
        self.dropout = Dropout(dropout)

    def forward(
        self, tokens: Tensor, context: Projected, mask: Tensor | None, past: Projected | None = None
    ) -> tuple[Tensor, Projected]:
        """(B, T, D), the projected context, its (B, S) mask and the past to (B, T, D) and the longer past."""
        attended, past = self.attention(self.attention_norm(tokens), past)
        tokens = tokens + self.dropout(attended)
        tokens = tokens + self.dropout(self.cross.ask(self.cross_norm(tokens), context, mask))
        return tokens + self.dropout(self.mlp(self.mlp_norm(tokens))), past


class TextDecoder(nn.Module):
    """Ids to the logits of the id that follows each, given a context: a causal transformer with cross-attention.

    `forward` reads whole texts at once, for training; `begin` and `step` take one id after another and compute each
    key and value once. Both give the same logits.

    Args:
        vocab_size: V.
        dim: D.
        depth: Blocks.
        num_heads: H.
        dropout: Of embeddings and blocks.

    References: Vaswani et al. 2017, Attention Is All You Need. Changed: norms before the parts (Xiong et al. 2020), and
        input and output share one table of embeddings (Press and Wolf 2017).
    """

    def __init__(self, *, vocab_size: int, dim: int, depth: int = 2, num_heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim, self.vocab_size = dim, vocab_size
        self.embeddings = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.embeddings.weight, std=dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.context_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(DecoderBlock(dim, num_heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Logits of the next ids.

        Args:
            ids: (B, T) int64.
            context: (B, S, D).
            mask: (B, S) bool, True = real; a row without any real token gives finite logits.

        Returns:
            (B, T, V).
        """
        return self.read(ids, self.begin(context, mask))[0]

    def begin(self, context: Tensor, mask: Tensor) -> DecoderState:
        """The state of B texts before their first id; arguments as for `forward`."""
        normal = self.context_norm(context)
        projected = tuple(block.cross.project(normal) for block in self.blocks)  # type: ignore[union-attr,operator]
        return DecoderState((None,) * len(self.blocks), projected, mask)

    def step(self, ids: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits (N, V) of what follows the next ids (N,), and the state behind them."""
        logits, state = self.read(ids.unsqueeze(1), state)
        return logits.squeeze(1), state

    def read(self, ids: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits (N, T, V) of what follows each of the next ids (N, T), and the state behind them."""
        length = state.length + ids.shape[1]
        places = sinusoids(length, self.dim)[state.length :].to(ids.device)
        tokens = self.dropout(self.embeddings(ids) * self.dim**0.5 + places)
        past: list[Projected | None] = []
        for block, context, before in zip(self.blocks, state.context, state.past, strict=True):
            tokens, after = block(tokens, context, state.mask, before)
            past.append(after)
        logits = F.linear(self.norm(tokens), self.embeddings.weight, self.bias)
        return logits, DecoderState(tuple(past), state.context, state.mask, length)
