"""What flows between the parts: FieldBatch and Batch into encoders, Tokens into fusion, Fused into tasks.

Shape alphabet used in every model file: B batch rows, P present rows of a field, T tokens, D model width, H heads,
K head width, C channels or classes, F frames, M modalities (fields).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from omnifuse.layers.masks import all_real, noted, noted_real

# Attribute of lengths on a graphics card: the largest of them
_LONGEST = "_longest"


@dataclass(frozen=True)
class FieldBatch:
    """One field of a batch: the P present rows alone, packed.

    Attributes:
        values: Array name to tensor; each row's array concatenated along axis 0. Every array has a leading length
            axis: text ids (L,), image pixels (pictures, H, W, 3), audio log_mel (F, bins), video pixels (F, H, W, 3)
            and time_s (F,), series values (F, C) and time_s (F,) and observed (F, C), table numbers (1, N) and
            categories (1, K) and missing (1, N + K), date seconds (1,), place degrees (1, 2), tags (L,). P = 0 is
            legal.
        lengths: (P,) int64, the leading length of each present row (the same for all arrays of the field).
        present: (B,) bool, True where the row has this field.
    """

    values: dict[str, Tensor]
    lengths: Tensor
    present: Tensor

    def to(self, device: torch.device | str) -> FieldBatch:
        """The same batch on another device."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self.values.items()}
        present = self.present.to(device, non_blocking=True)
        lengths = self.lengths.to(device, non_blocking=True)
        if present.is_cuda and not self.present.is_cuda:
            # Told here, where nobody has to wait for it
            noted(present, bool(self.present.all()))
            setattr(lengths, _LONGEST, int(self.lengths.max()) if len(self.lengths) else 0)
        return FieldBatch(moved, lengths, present)

    def pinned(self) -> FieldBatch:
        """The same batch in memory that a graphics card reads by itself, while the processor goes on."""
        values = {name: value.pin_memory() for name, value in self.values.items()}
        return FieldBatch(values, self.lengths.pin_memory(), self.present.pin_memory())

    @property
    def is_even(self) -> bool:
        """Whether all rows are known to be of one length, so that nothing is padded."""
        return self.lengths.shape[0] == 1

    def unpack(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values (sum of lengths, ...) of all rows to padded (P, T, ...) and mask (P, T), see `pad_packed`."""
        return pad_packed(values, self.lengths)


@dataclass(frozen=True)
class EvenFieldBatch(FieldBatch):
    """A field of rows of one length each: what an exported encoder is given.

    Attributes:
        steps: The length of every row.
    """

    steps: int = 1

    @property
    def is_even(self) -> bool:
        """Always."""
        return True

    def unpack(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values (P x steps, ...) to (P, steps, ...) and a mask of ones."""
        num_rows = self.lengths.shape[0]
        mask = torch.ones((num_rows, self.steps), dtype=torch.bool, device=values.device)
        return values.view(num_rows, self.steps, *values.shape[1:]), mask


@dataclass(frozen=True)
class Batch:
    """A batch of B rows.

    Attributes:
        fields: Input name to FieldBatch, any subset of the model's inputs.
        targets: Target name to tensor. Classification and ordinal: int64 (B,), -1 = missing. Tagging: float (B, C),
            NaN = missing row. Regression: float (B,), NaN = missing, in standardised units.
        weights: (B,) float row weights.
        rows: (B,) int64 row numbers of the table.
        mixed: For mixup, target name to soft target (B, C); empty otherwise.
    """

    fields: dict[str, FieldBatch]
    targets: dict[str, Tensor]
    weights: Tensor
    rows: Tensor
    mixed: dict[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """B, the number of rows."""
        return int(self.rows.shape[0])

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            {name: value.to(device) for name, value in self.fields.items()},
            {name: value.to(device, non_blocking=True) for name, value in self.targets.items()},
            self.weights.to(device, non_blocking=True),
            self.rows.to(device, non_blocking=True),
            {name: value.to(device, non_blocking=True) for name, value in self.mixed.items()},
        )

    def pinned(self) -> Batch:
        """The same batch in memory that a graphics card reads by itself, while the processor goes on."""
        return Batch(
            {name: value.pinned() for name, value in self.fields.items()},
            {name: value.pin_memory() for name, value in self.targets.items()},
            self.weights.pin_memory(),
            self.rows.pin_memory(),
            {name: value.pin_memory() for name, value in self.mixed.items()},
        )


@dataclass(frozen=True)
class Tokens:
    """Tokens of one field for all rows: values (B, T, D), mask (B, T) bool where True = a real token."""

    values: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """(B,) bool: rows with at least one real token."""
        present = self.mask.any(dim=1)
        return noted(present, True) if noted_real(self.mask) and self.mask.shape[1] else present


@dataclass(frozen=True)
class Fused:
    """What a fusion gives: tokens (B, T, D), mask (B, T), and pooled (B, D), the unified representation."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


def masked_mean(item: Tokens) -> Tensor:
    """(B, D) mean of the real tokens; zeros where a row has none."""
    if all_real(item.mask) and item.mask.numel():
        return item.values.mean(dim=1)
    weights = item.mask.to(item.values.dtype).unsqueeze(-1)
    return (item.values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def scatter(tokens: Tokens, present: Tensor) -> Tokens:
    """Put the tokens of P present rows back among B rows.

    Args:
        tokens: values (P, T, D), mask (P, T).
        present: (B,) bool with P True entries.

    Returns:
        values (B, T, D), zero where absent; mask (B, T), all False where absent.
    """
    if present.is_cuda:
        return _scatter_by_number(tokens, present)
    if bool(present.all()):
        return tokens
    num_rows = present.shape[0]
    values = tokens.values.new_zeros((num_rows, *tokens.values.shape[1:]))
    mask = tokens.mask.new_zeros((num_rows, tokens.mask.shape[1]))
    values[present] = tokens.values
    mask[present] = tokens.mask
    return Tokens(values, mask)


def _scatter_by_number(tokens: Tokens, present: Tensor) -> Tokens:
    """As `scatter`; the numbers of the rows are found without waiting for the device to count them."""
    num_rows, num_present = present.shape[0], tokens.values.shape[0]
    if num_present == num_rows:
        return tokens
    index = torch.argsort((~present).to(torch.uint8), stable=True)[:num_present]
    values = tokens.values.new_zeros((num_rows, *tokens.values.shape[1:])).index_copy(0, index, tokens.values)
    mask = tokens.mask.new_zeros((num_rows, tokens.mask.shape[1])).index_copy(0, index, tokens.mask)
    return Tokens(values, noted(mask, False))


def gathered(tokens: Tokens, lengths: Tensor) -> Tokens:
    """Tokens of several media a row, one behind the other.

    Args:
        tokens: values (N, T, D), mask (N, T) of the N media of all rows in order.
        lengths: (P,) media of each row, N in all.

    Returns:
        values (P, K T, D), mask (P, K T) with K the most media of a row.
    """
    if tokens.values.shape[0] == lengths.shape[0]:
        # No row without a medium comes here, so each has one
        return tokens
    values, there = pad_packed(tokens.values, lengths)
    mask, _ = pad_packed(tokens.mask, lengths)
    return Tokens(values.flatten(1, 2), (mask & there.unsqueeze(2)).flatten(1, 2))


def group_means(values: Tensor, lengths: Tensor) -> Tensor:
    """(N, S) of the N media of all rows in order to their means (P, S)."""
    if values.shape[0] == lengths.shape[0]:
        return values
    rows = torch.repeat_interleave(torch.arange(lengths.shape[0], device=values.device), lengths)
    sums = values.new_zeros((lengths.shape[0], values.shape[1])).index_add_(0, rows, values)
    return sums / lengths.unsqueeze(1).to(values.dtype)


def pad_packed(values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack rows concatenated along axis 0 into a padded tensor.

    Args:
        values: (sum of lengths, ...).
        lengths: (P,) int64.

    Returns:
        (P, T, ...) zero-padded values with T = max length, and (P, T) bool mask, True = real.
    """
    num_rows = int(lengths.shape[0])
    if num_rows == 1:
        return values.unsqueeze(0), torch.ones((1, values.shape[0]), dtype=torch.bool, device=values.device)
    if values.is_cuda and num_rows:
        return _pad_by_number(values, lengths)
    longest = int(lengths.max()) if num_rows else 0
    mask = torch.arange(longest, device=values.device)[None, :] < lengths[:, None]
    padded = values.new_zeros((num_rows, longest, *values.shape[1:]))
    padded[mask] = values
    return padded, mask


def _pad_by_number(values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As `pad_packed`; each place is found without waiting for the device to count them."""
    if not hasattr(lengths, _LONGEST):
        setattr(lengths, _LONGEST, int(lengths.max()))
    num_rows, total, longest = lengths.shape[0], values.shape[0], int(getattr(lengths, _LONGEST))
    mask = torch.arange(longest, device=values.device)[None, :] < lengths[:, None]
    rows = torch.arange(num_rows, device=values.device).repeat_interleave(lengths, output_size=total)
    places = torch.arange(total, device=values.device) - (lengths.cumsum(dim=0) - lengths)[rows]
    padded = values.new_zeros((num_rows, longest, *values.shape[1:])).index_put((rows, places), values)
    return padded, mask
