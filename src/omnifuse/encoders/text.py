"""Texts to tokens. Shapes: P present rows, L ids of a row, T = L + 1 tokens, D width, G runs of letters an id."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.data.letter_grams import letter_grams
from omnifuse.layers import Dropout, GatedBlock, TransformerBlock, sinusoids
from omnifuse.tokens import EvenFieldBatch, FieldBatch, Tokens

_MIXER = 1_000_003


class NgramBag(nn.Module):
    """One vector a text from its single ids and hashed neighbouring pairs, weighted as tf-idf weights words.

    A linear model of n-grams is hard to beat on a few hundred texts; this gives it to the network as a token.

    Args:
        vocab_size: Number of ids.
        dim: D.
        num_buckets: Pairs are hashed into so many.
        pieces: The word pieces in the order of the ids; their runs of letters are a third part of the frequencies.
        num_letters: Runs of letters are hashed into so many.

    References: Joulin et al. 2017, Bag of Tricks (hashed bigrams); Sparck Jones 1972 (inverse document frequency).
    """

    inverse_frequency: Tensor
    letters: Tensor

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int,
        num_buckets: int = 8192,
        pieces: Sequence[str] = (),
        num_letters: int = 4096,
    ) -> None:
        super().__init__()
        self.vocab_size, self.num_buckets = vocab_size, num_buckets
        self.widths = [vocab_size, num_buckets, *([num_letters] if pieces else [])]
        if pieces:
            found = torch.from_numpy(letter_grams(pieces, num_letters)).long()
            # An id with fewer runs names a place behind the last, which is cut off
            found = torch.where(found < 0, num_letters, found) + vocab_size + num_buckets
            self.register_buffer("letters", found, persistent=False)
        self.embeddings = nn.EmbeddingBag(vocab_size + num_buckets, dim, mode="sum")
        nn.init.normal_(self.embeddings.weight, std=0.1)
        self.register_buffer("inverse_frequency", torch.ones(sum(self.widths)))

    def even_grams(self, ids: Tensor) -> Tensor:
        """Ids (P, L) of texts of one length to gram indices (P, 2 L - 1)."""
        pairs = (ids[:, :-1] * _MIXER + ids[:, 1:]) % self.num_buckets + self.vocab_size
        return torch.cat([ids, pairs], dim=1)

    def grams(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Packed ids (N,) to gram indices and the row of each, ordered by row."""
        if lengths.shape[0] == 1:
            grams = self.even_grams(ids.unsqueeze(0)).squeeze(0)
            return grams, torch.zeros_like(grams)
        pairs = (ids[:-1] * _MIXER + ids[1:]) % self.num_buckets + self.vocab_size
        rows = torch.repeat_interleave(torch.arange(lengths.shape[0], device=ids.device), lengths)
        same = rows[1:] == rows[:-1]
        grams = torch.cat([ids, pairs[same]])
        owners = torch.cat([rows, rows[1:][same]])
        order = torch.argsort(owners, stable=True)
        return grams[order], owners[order]

    def _all_grams(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As `grams`, runs of letters behind them."""
        grams, owners = self.grams(ids, lengths)
        if len(self.widths) < 3:
            return grams, owners
        runs = self.letters[ids]
        real = runs < sum(self.widths)
        rows = torch.repeat_interleave(torch.arange(lengths.shape[0], device=ids.device), lengths)
        return torch.cat([grams, runs[real]]), torch.cat([owners, rows.unsqueeze(1).expand_as(runs)[real]])

    def initialise(self, ids: Tensor, lengths: Tensor) -> None:
        """Count in how many of the training texts each gram occurs."""
        grams, owners = self._all_grams(ids.long(), lengths)
        total = self.inverse_frequency.shape[0]
        # As one number each, which sorts many times quicker than pairs do
        seen = torch.unique(owners * total + grams) % total
        counts = torch.bincount(seen, minlength=total).float()
        self.inverse_frequency.copy_(torch.log((1 + lengths.shape[0]) / (1 + counts)) + 1)

    def frequencies(self, batch: FieldBatch) -> Tensor:
        """Texts to tf-idf (P, S) of unit length: ids, pairs and runs of letters have equal shares of it."""
        ids, lengths = batch.values["ids"].long(), batch.lengths
        total = self.inverse_frequency.shape[0]
        if isinstance(batch, EvenFieldBatch):
            even = batch.unpack(ids)[0]
            grams = self.even_grams(even)
            if len(self.widths) > 2:
                grams = torch.cat([grams, self.letters[even].flatten(1)], dim=1)
            counts = torch.zeros((even.shape[0], total + 1), device=ids.device)
            counts = counts.scatter_add(1, grams, torch.ones_like(grams, dtype=counts.dtype))[:, :total]
            return self._scaled(torch.log1p(counts) * self.inverse_frequency)
        grams, owners = self._all_grams(ids, lengths)
        counts = torch.zeros((lengths.shape[0], total), device=ids.device)
        places = (owners, grams)
        counts.index_put_(places, torch.ones_like(grams, dtype=counts.dtype), accumulate=True)
        # Only where a text has grams: that is a handful of the columns
        counts[places] = torch.log1p(counts[places]) * self.inverse_frequency[grams]
        return self._scaled(counts)

    def _scaled(self, counts: Tensor) -> Tensor:
        """Each part to one length, all of them to length 1."""
        parts = [F.normalize(part, dim=1, eps=1e-6) for part in counts.split_with_sizes(self.widths, dim=1)]
        joined: Tensor = torch.cat(parts, dim=1) / math.sqrt(len(parts))
        return joined

    def forward(self, batch: FieldBatch) -> Tensor:
        """Texts to (P, D)."""
        ids, lengths = batch.values["ids"].long(), batch.lengths
        if batch.is_even:
            table = self.embeddings.weight
            even = self.even_grams(batch.unpack(ids)[0])
            shares = F.normalize(self.inverse_frequency[even], dim=1, eps=1e-6).to(table.dtype)
            return torch.bmm(shares.unsqueeze(1), F.embedding(even, table)).squeeze(1)
        grams, owners = self.grams(ids, lengths)
        weights = self.inverse_frequency[grams]
        norms = torch.zeros(lengths.shape[0], device=weights.device).index_add_(0, owners, weights**2).sqrt()
        weights = weights / norms[owners].clamp(min=1e-6)
        starts = torch.searchsorted(owners, torch.arange(lengths.shape[0], device=owners.device))
        out: Tensor = self.embeddings(grams, starts, per_sample_weights=weights.to(self.embeddings.weight.dtype))
        return out


class TextEncoder(nn.Module):
    """A transformer over token ids, beside a token of n-grams.

    Args:
        dim: D.
        vocab_size: Number of ids.
        pieces: The word pieces in the order of the ids, for their letters in the summary; none leaves these out.
        depth: Blocks.
        num_heads: Heads of attention.
        dropout: Of embeddings and blocks.
        gated: Use `GatedBlock` instead of `TransformerBlock`.
    """

    def __init__(
        self,
        *,
        dim: int,
        vocab_size: int,
        pieces: Sequence[str] = (),
        depth: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.embeddings = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.embeddings.weight, std=0.1)
        self.bag = NgramBag(vocab_size=vocab_size, dim=dim, pieces=pieces)
        self.summary_dim = sum(self.bag.widths)
        self.bag_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        block = GatedBlock if gated else TransformerBlock
        self.blocks = nn.ModuleList(block(dim, num_heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def initialise(self, batch: FieldBatch) -> None:
        """Count grams in training texts."""
        self.bag.initialise(batch.values["ids"], batch.lengths)

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): tf-idf of single ids, hashed pairs and runs of letters."""
        return self.bag.frequencies(batch)

    def forward(self, batch: FieldBatch) -> Tokens:
        """ids (sum L,) to (P, T, D); the first token holds the n-grams."""
        ids, mask = batch.unpack(batch.values["ids"].long())
        if not ids.shape[0]:
            return Tokens(self.embeddings.weight.new_zeros((0, 1, self.dim)), mask.new_zeros((0, 1)))
        tokens = torch.add(self.embeddings(ids), sinusoids(ids.shape[1], self.dim).to(ids.device), alpha=0.1)
        tokens = self.dropout(tokens)
        for block in self.blocks:
            tokens = block(tokens, None if batch.is_even else mask)
        bag = self.bag_norm(self.dropout(self.bag(batch))).unsqueeze(1)
        return Tokens(torch.cat([bag, self.norm(tokens).to(bag.dtype)], dim=1), F.pad(mask, (1, 0), value=True))
