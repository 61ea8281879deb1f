"""Mixup across the whole row, on the fields' tokens, and cutmix of pictures.

Shapes: B rows, P present rows, T tokens, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from omnifuse.model import Change, MultimodalModel
from omnifuse.presets import TrainingSpec
from omnifuse.tokens import Batch, FieldBatch, Tokens


def mixed(
    batch: Batch, model: MultimodalModel, spec: TrainingSpec, seed: Sequence[int]
) -> tuple[Batch] | tuple[Batch, Change]:
    """What the model is called with: the batch, and for mixup and cutmix what to do with its tokens.

    Args:
        batch: B rows.
        model: Its tasks know how targets are mixed.
        spec: How much is mixed.
        seed: Of the draw.
    """
    if max(spec.mixup, spec.cutmix) <= 0 or batch.size < 2:
        return (batch,)
    draw = np.random.default_rng(seed)
    partner, weight = (item.to(batch.rows.device) for item in mixup_pairs(draw, batch.size, spec.mixup))
    whole: set[str] = set()
    if spec.cutmix and draw.random() < spec.cutmix:
        batch, weight, whole = cut_pictures(batch, partner, draw)
    elif not spec.mixup:
        return (batch,)
    soft = {}
    for name, task in zip(model.targets, model.tasks, strict=True):
        if name not in batch.targets:
            continue
        target = batch.targets[name]
        if task.kind.writes:  # type: ignore[union-attr]
            continue  # half of a text is no text: a row keeps its own, as it keeps most of itself
        if task.kind.chooses_class:  # type: ignore[union-attr]
            shares, known = task.soft_target(target)  # type: ignore[operator]
            both = mix_soft_targets(shares, partner, weight)
            # A row without a label must not lend half of one
            soft[name] = both * (known & known[partner]).unsqueeze(1)
        else:
            soft[name] = mix_soft_targets(target.reshape(len(target), -1), partner, weight).reshape(target.shape)
    changed = Batch(batch.fields, batch.targets, batch.weights, batch.rows, soft)
    return changed, lambda tokens: mix_tokens(tokens, partner, weight, whole=whole)


def mixup_pairs(draw: np.random.Generator, num_rows: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Who is mixed with whom, and how much of the row itself stays.

    Args:
        draw: Randomness.
        num_rows: B.
        alpha: Of the Beta distribution; small values mix little, 0 nothing.

    Returns:
        Partner (B,) int64 and weight (B,) float32 in 0.5 to 1: a row stays mainly itself.
    """
    weight = draw.beta(alpha, alpha, num_rows).astype(np.float32) if alpha else np.ones(num_rows, np.float32)
    return torch.from_numpy(draw.permutation(num_rows)), torch.from_numpy(np.maximum(weight, 1 - weight))


def cut_pictures(batch: Batch, partner: Tensor, draw: np.random.Generator) -> tuple[Batch, Tensor, set[str]]:
    """Put a rectangle of each row's partner's picture into its own, the same rectangle in all rows.

    Args:
        batch: B rows; pictures are fields with an array "pixels".
        partner: (B,) row numbers.
        draw: Randomness.

    Returns:
        The batch with the changed pictures, the share of itself that each row keeps (B,) in 0.5 to 1, and the names of
        the fields that are mixed. Rows that lack the picture, or whose partner does, keep theirs whole, as do rows with
        several pictures in a cell; without any picture to cut no field is mixed and each row keeps all of itself.

    References: Yun et al. 2019, CutMix.
    """
    fields, cut, kept = dict(batch.fields), set(), 1.0
    area = float(draw.uniform(0.0, 0.5))
    corner = draw.random(2)
    for name, item in batch.fields.items():
        pixels = item.values.get("pixels")
        if pixels is None or "time_s" in item.values or pixels.shape[0] != item.lengths.shape[0]:
            continue
        height, width = pixels.shape[1:3]
        tall, wide = round(height * area**0.5), round(width * area**0.5)
        top, left = (int(share * (size + 1)) for share, size in zip(corner, (height - tall, width - wide), strict=True))
        place = torch.cumsum(item.present.long(), dim=0) - 1
        both = item.present & item.present[partner]
        changed = pixels.clone()
        box = (slice(top, top + tall), slice(left, left + wide))
        changed[place[both], *box] = pixels[place[partner[both]], *box]
        fields[name] = FieldBatch({**item.values, "pixels": changed}, item.lengths, item.present)
        cut.add(name)
        kept = 1.0 - tall * wide / (height * width)
    cut_batch = Batch(fields, batch.targets, batch.weights, batch.rows, batch.mixed)
    return cut_batch, torch.full((batch.size,), kept), cut


def mix_tokens(
    tokens: dict[str, Tokens], partner: Tensor, weight: Tensor, *, whole: Collection[str] = ()
) -> dict[str, Tokens]:
    """Each row's tokens mixed with its partner's.

    Where both tokens are real they are mixed by weight; where one alone is real it stays whole, so that a missing
    field takes over the partner's.

    Args:
        tokens: Field to (B, T, D) with mask.
        partner: (B,) row numbers.
        weight: (B,) share of the row itself.
        whole: Fields that stay as they are where a row has them, since they are mixed already.

    Returns:
        The same shapes; the mask is the union of both.

    References: Zhang et al. 2018, mixup; Verma et al. 2019, Manifold Mixup (on hidden features).
    """
    mixed = {}
    for name, item in tokens.items():
        index = partner.to(item.values.device)
        other, other_mask = item.values[index], item.mask[index]
        share = weight.to(item.values)[:, None, None].expand_as(item.values[..., :1])
        if name in whole:
            # Only where both have the picture was it cut
            both = (item.present & item.present[index])[:, None, None]
            share = torch.where(both, 1.0, share)
            other_mask = other_mask & ~both.squeeze(-1)
        own = torch.where(other_mask.unsqueeze(-1), share, 1.0) * item.mask.unsqueeze(-1)
        theirs = torch.where(item.mask.unsqueeze(-1), 1.0 - share, 1.0) * other_mask.unsqueeze(-1)
        mixed[name] = Tokens(item.values * own + other * theirs, item.mask | other_mask)
    return mixed


def mix_soft_targets(targets: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """(B, C) targets mixed with the partners' by (B,) weight."""
    share = weight.to(targets)[:, None]
    return share * targets + (1 - share) * targets[partner.to(targets.device)]
