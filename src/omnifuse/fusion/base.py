"""What every fusion shares: one vector and one presence flag a field, absent fields replaced by a learned vector.

Shapes: B rows, T tokens, D width, M fields.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omnifuse.errors import did_you_mean
from omnifuse.layers.masks import all_real, noted, noted_real
from omnifuse.tokens import Tokens, masked_mean


class AbsentTokens(nn.Module):
    """A learned vector for each field that a row lacks, so that widths never change.

    Args:
        fields: All fields in a fixed order.
        dim: D.
    """

    def __init__(self, fields: Sequence[str], dim: int) -> None:
        super().__init__()
        if not fields:
            raise ValueError("a fusion needs at least one field")
        self.fields = tuple(fields)
        self.vectors = nn.Parameter(torch.randn(len(self.fields), dim) * 0.02)

    def check(self, tokens: dict[str, Tokens]) -> tuple[int, torch.device, torch.dtype]:
        """Batch size, device and dtype of the tokens.

        Raises:
            ValueError: No field was handed in, an unknown one was, or their batch sizes differ.
        """
        if not tokens:
            raise ValueError("no field was handed to the fusion")
        for name in tokens:
            if name not in self.fields:
                raise ValueError(f"the fusion has no field '{name}': {did_you_mean(name, self.fields)}")
        sizes = {name: item.values.shape[0] for name, item in tokens.items()}
        first = next(iter(tokens.values())).values
        if any(size != first.shape[0] for size in sizes.values()):
            raise ValueError(f"fields have different numbers of rows: {sizes}")
        return first.shape[0], first.device, first.dtype

    def pooled(self, tokens: dict[str, Tokens]) -> tuple[Tensor, Tensor]:
        """Mean of the real tokens of each field, the learned vector where there are none.

        Args:
            tokens: Any subset of the fields, in any order.

        Returns:
            (B, M, D) in the fixed order, and (B, M) bool, True = present.
        """
        num_rows, device, dtype = self.check(tokens)
        vectors, present = [], []
        for index, name in enumerate(self.fields):
            if name not in tokens:
                vectors.append(self.vectors[index].to(dtype).expand(num_rows, -1))
                present.append(torch.zeros(num_rows, dtype=torch.bool, device=device))
                continue
            mean, there = masked_mean(tokens[name]), tokens[name].present
            # In training the learned vector always gets a gradient, if of zeros, so that each step moves it alike
            if self.training or not all_real(there):
                mean = torch.where(there.unsqueeze(1), mean, self.vectors[index].to(dtype))
            vectors.append(mean)
            present.append(there)
        flags = torch.stack(present, dim=1)
        return torch.stack(vectors, dim=1), noted(flags, True) if noted_real(*present) else flags

    def joined(self, tokens: dict[str, Tokens]) -> tuple[Tensor, Tensor]:
        """All tokens behind one another in the fixed order; an absent field gives its learned vector as one token.

        Returns:
            (B, T, D) and (B, T) bool. Each field takes its own tokens and, where some row lacks it, one place for the
            learned vector.
        """
        parts = self.by_field(tokens)
        mask = torch.cat([item.mask for item in parts], dim=1)
        if noted_real(*(item.mask for item in parts)):
            mask = noted(mask, True)
        return torch.cat([item.values for item in parts], dim=1), mask

    def by_field(self, tokens: dict[str, Tokens]) -> list[Tokens]:
        """Tokens of each field in the fixed order; no row of them is empty: it holds at least the learned vector."""
        num_rows, device, dtype = self.check(tokens)
        parts = []
        for index, name in enumerate(self.fields):
            absent = torch.ones((num_rows, 1), dtype=torch.bool, device=device)
            learned = self.vectors[index].to(dtype).expand(num_rows, 1, -1)
            if name not in tokens:
                parts.append(Tokens(learned, absent))
                continue
            item, absent = tokens[name], ~tokens[name].present.unsqueeze(1)
            if not all_real(item.present):
                values, mask = torch.cat([item.values, learned], dim=1), torch.cat([item.mask, absent], dim=1)
                item = Tokens(values, mask)
            parts.append(item)
        return parts
