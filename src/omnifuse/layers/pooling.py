"""Tokens to one vector a row. Shapes: B rows, T tokens, D width; mask True = real; no real token gives zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_VERY_LOW = -1e4


class MeanPool(nn.Module):
    """Mean of the real tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) to (B, D)."""
        weights = mask.to(tokens.dtype).unsqueeze(-1)
        return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class MaxPool(nn.Module):
    """Largest value of each feature over the real tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) to (B, D)."""
        low = tokens.masked_fill(~mask.unsqueeze(-1), _VERY_LOW).amax(dim=1)
        return torch.where(mask.any(dim=1, keepdim=True), low, torch.zeros_like(low))


class WeightedPool(nn.Module):
    """Mean with one learned score a token, softmax over the real tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) to (B, D)."""
        scores = self.score(tokens).squeeze(-1).masked_fill(~mask, _VERY_LOW)
        weights = scores.softmax(dim=1) * mask.to(tokens.dtype)
        return torch.einsum("bt,btd->bd", weights, tokens)


class AttentionPool(nn.Module):
    """A learned query attends to the real tokens, several heads side by side.

    References: Lee et al. 2019, Set Transformer, section 3.2, with one seed.
    """

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads if dim % num_heads == 0 else 1
        self.query = nn.Parameter(torch.randn(self.num_heads, dim // self.num_heads) * 0.02)
        self.keys = nn.Linear(dim, dim)
        self.values = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) to (B, D)."""
        num_rows, num_tokens, dim = tokens.shape
        shape = (num_rows, num_tokens, self.num_heads, dim // self.num_heads)
        keys, values = self.keys(tokens).view(shape), self.values(tokens).view(shape)
        scores = torch.einsum("hk,bthk->bht", self.query.to(keys.dtype), keys) / shape[-1] ** 0.5
        weights = scores.masked_fill(~mask[:, None, :], _VERY_LOW).softmax(dim=-1) * mask[:, None, :].to(keys.dtype)
        return torch.einsum("bht,bthk->bhk", weights, values).reshape(num_rows, dim)


POOLINGS: dict[str, type[nn.Module]] = {
    "mean": MeanPool,
    "max": MaxPool,
    "weighted": WeightedPool,
    "attention": AttentionPool,
}
