"""Tokens to one vector a row. Shapes: B rows, T tokens, D width; mask True = real; no real token gives zeros."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers.masks import all_real

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
        return torch.bmm(weights.unsqueeze(1), tokens).squeeze(1)


class AttentionPool(nn.Module):
    """A learned query attends to the real tokens, several heads side by side.

    The query does not depend on the tokens, so keys and values need not be computed for each of them: the query is
    taken through the keys' weights beforehand, the values' weights are applied to the weighted mean of the tokens.

    References: Lee et al. 2019, Set Transformer, section 3.2, with one seed. Changed: the order of the products.
    """

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads if dim % num_heads == 0 else 1
        self.query = nn.Parameter(torch.randn(self.num_heads, dim // self.num_heads) * 0.02)
        # A bias would add the same to the score of every token
        self.keys = nn.Linear(dim, dim, bias=False)
        self.values = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) to (B, D)."""
        num_rows, _, dim = tokens.shape
        heads, width = self.num_heads, dim // self.num_heads
        keys, values = self.keys.weight.view(heads, width, dim), self.values.weight.view(heads, width, dim)
        asked = torch.bmm(self.query.unsqueeze(1), keys).squeeze(1) / width**0.5
        scores = F.linear(tokens, asked.to(tokens.dtype)).transpose(1, 2)
        is_full = all_real(mask)
        weights = (scores if is_full else scores.masked_fill(~mask.unsqueeze(1), _VERY_LOW)).softmax(dim=-1)
        # (B, H, D) means of the tokens, then each head's part of the values' weights: (H, B, D) x (H, D, K)
        means = torch.bmm(weights.to(tokens.dtype), tokens).transpose(0, 1)
        parts = torch.bmm(means, values.transpose(1, 2).to(means.dtype)).transpose(0, 1).reshape(num_rows, dim)
        out = parts + self.values.bias
        return out if is_full else out * mask.any(dim=1, keepdim=True)


POOLINGS: dict[str, type[nn.Module]] = {
    "mean": MeanPool,
    "max": MaxPool,
    "weighted": WeightedPool,
    "attention": AttentionPool,
}
