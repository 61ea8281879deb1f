"""Sets of tags to tokens. Shapes: P present rows, L tags of a row, T tokens, D width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers import Dropout
from omnifuse.tokens import EvenFieldBatch, FieldBatch, Tokens

MAX_TOKENS = 32
MAX_SUMMARY_TAGS = 4096


class TagsEncoder(nn.Module):
    """A token a tag, without any order, beside a token of the whole set.

    Args:
        dim: D.
        num_ids: Number of ids.
        dropout: Of the embeddings.

    References: Zaheer et al. 2017, Deep Sets (a sum that no order changes).
    """

    def __init__(self, *, dim: int, num_ids: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim, self.num_ids = dim, num_ids
        self.embeddings = nn.Embedding(num_ids, dim)
        nn.init.normal_(self.embeddings.weight, std=0.3)
        self.whole = nn.EmbeddingBag(num_ids, dim, mode="sum")
        nn.init.normal_(self.whole.weight, std=0.3)
        self.whole_norm = nn.LayerNorm(dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.num_read = min(num_ids, MAX_SUMMARY_TAGS)
        self.summary_dim = self.num_read

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): which tags are there, of unit length."""
        ids, lengths = batch.values["tags"].long(), batch.lengths
        found = torch.zeros((lengths.shape[0], self.num_read), device=ids.device)
        if isinstance(batch, EvenFieldBatch):
            places = batch.unpack(ids % self.num_read)[0]
            return F.normalize(found.scatter(1, places, torch.ones_like(places, dtype=found.dtype)), dim=1)
        rows = torch.repeat_interleave(torch.arange(lengths.shape[0], device=ids.device), lengths)
        found[rows, ids % self.num_read] = 1.0
        return F.normalize(found, dim=1)

    def forward(self, batch: FieldBatch) -> Tokens:
        """tags (sum L,) to (P, 1 + min(L, 32), D); the first token holds the whole set."""
        packed, lengths = batch.values["tags"].long(), batch.lengths
        if not lengths.shape[0]:
            weight = self.embeddings.weight
            return Tokens(
                weight.new_zeros((0, 1, self.dim)), torch.zeros((0, 1), dtype=torch.bool, device=weight.device)
            )
        ids, mask = batch.unpack(packed)
        if isinstance(batch, EvenFieldBatch):
            summed = F.embedding(ids, self.whole.weight).sum(dim=1)
        else:
            summed = self.whole(packed, lengths.cumsum(0) - lengths)
        summed = summed / lengths.to(self.whole.weight.dtype).sqrt().unsqueeze(1)
        whole = self.whole_norm(self.dropout(summed)).unsqueeze(1)
        ids, mask = ids[:, :MAX_TOKENS], mask[:, :MAX_TOKENS]
        tokens = self.norm(self.dropout(self.embeddings(ids)))
        return Tokens(torch.cat([whole, tokens], dim=1), F.pad(mask, (1, 0), value=True))
