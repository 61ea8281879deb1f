"""Masked latent prediction: what is hidden of a row is told from the rest, as a mean teacher sees it.

Shapes: B rows, T tokens of a field, S tokens of all fields, D width, M fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.layers import CrossBlock, sinusoids
from omnifuse.tokens import Tokens

# Chance that a field of a row that has several is hidden whole, and share of the tokens hidden of the others
WHOLE_FIELD, WITHIN_FIELD = 0.4, 0.5
# Differences from there on count by their size, not by its square
BETA = 1.0


class MaskedObjective(nn.Module):
    """Predict the teacher's tokens at hidden places from the student's tokens that are left, of all fields of the row.

    Within a field some tokens are hidden, across fields a whole field is; targets are the teacher's tokens brought to
    mean 0 and deviation 1, since their scale could be learnt to be nothing. Prefer it where many rows mean the same,
    where rows have one field alone, and for fits with few labels.

    Args:
        fields: All fields in a fixed order.
        dim: D.
        depth: Blocks of the predictor.
        num_heads: Heads of attention.

    Shape: dict of (B, T, D) with masks of the student and of the teacher to (B,) losses and (B,) bool, which rows had
    something hidden.

    References: Baevski et al. 2022, data2vec (arXiv:2202.03555): a mean teacher's normalised tokens, smooth L1; Assran
    et al. 2023, I-JEPA (arXiv:2301.08243), section 3: a predictor with queries of positions. Changed: tokens come from
    any encoder, so they are hidden behind it, and the student is shown a row with parts of its raw arrays masked.
    """

    generator: torch.Generator | None = None

    def __init__(self, fields: Sequence[str], dim: int, *, depth: int = 1, num_heads: int = 4) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.queries = nn.Parameter(torch.randn(len(self.fields), dim) * 0.02)
        self.nothing = nn.Parameter(torch.randn(dim) * 0.02)
        self.blocks = nn.ModuleList(CrossBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, student: Mapping[str, Tokens], teacher: Mapping[str, Tokens]) -> tuple[Tensor, Tensor]:
        """Losses of the rows.

        Args:
            student: Tokens of a view with masked parts.
            teacher: Tokens of the whole rows, as many a row; no gradient flows into them.
        """
        names = [name for name in self.fields if name in student and name in teacher]
        hidden = self.hidden({name: student[name].mask for name in names})
        return self.predict({name: student[name] for name in names}, teacher, hidden)

    def hidden(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Field to (B, T) bool, the real tokens to be told; something of every row that has two tokens is left."""
        if not masks:
            return {}
        names = list(masks)
        present = torch.stack([masks[name].any(dim=1) for name in names], dim=1)
        draws = torch.rand(present.shape, device=present.device, generator=self.generator)
        whole = present & (draws < WHOLE_FIELD)
        # The field with the largest draw stays to tell the others
        kept = torch.zeros_like(whole).scatter_(1, torch.where(present, draws, -1.0).argmax(dim=1, keepdim=True), True)
        whole &= ~kept
        found = {}
        for index, name in enumerate(names):
            mask = masks[name]
            drawn = torch.rand(mask.shape, device=mask.device, generator=self.generator).masked_fill(~mask, -1.0)
            some = mask & (drawn < WITHIN_FIELD)
            spared = torch.zeros_like(some).scatter_(1, drawn.argmax(dim=1, keepdim=True), True)
            found[name] = torch.where(whole[:, index, None], mask, some & ~spared)
        return found

    def predict(
        self, student: Mapping[str, Tokens], teacher: Mapping[str, Tokens], hidden: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, for given hidden places."""
        if not student:
            zero = self.queries.sum() * 0.0
            return zero.unsqueeze(0)[:0], torch.zeros(0, dtype=torch.bool, device=self.queries.device)
        context, mask = self._context(student, hidden)
        sums, counts = context.new_zeros(len(context)), context.new_zeros(len(context))
        for name, item in student.items():
            asked = hidden[name].to(context.dtype)
            told = self._told(name, item.values.shape[1], context, mask)
            wanted = F.layer_norm(teacher[name].values.detach().float(), teacher[name].values.shape[-1:])
            apart = F.smooth_l1_loss(told.float(), wanted, reduction="none", beta=BETA).mean(dim=2)
            sums, counts = sums + (apart * asked).sum(dim=1), counts + asked.sum(dim=1)
        return sums / counts.clamp(min=1), counts > 0

    def _context(self, student: Mapping[str, Tokens], hidden: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens that are left (B, 1 + S, D) with their positions, and mask; the first one is there in every row."""
        some = next(iter(student.values())).values
        values = [self.nothing.to(some.dtype).expand(len(some), 1, -1)]
        masks = [torch.ones((len(some), 1), dtype=torch.bool, device=some.device)]
        for name, item in student.items():
            places = sinusoids(item.values.shape[1], item.values.shape[2]).to(some)
            values.append(item.values + places + self.queries[self.fields.index(name)].to(some.dtype))
            masks.append(item.mask & ~hidden[name])
        return torch.cat(values, dim=1), torch.cat(masks, dim=1)

    def _told(self, name: str, count: int, context: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) what is expected at every place of a field."""
        places = sinusoids(count, context.shape[2]).to(context) + self.queries[self.fields.index(name)]
        told = places.expand(len(context), -1, -1)
        for block in self.blocks:
            told = block(told, context, mask)
        out: Tensor = self.output(self.norm(told))
        return out
