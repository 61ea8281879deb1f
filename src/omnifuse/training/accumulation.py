"""A batch in parts whose losses and gradients add up to those of the whole batch.

A loss is a mean over the rows that have its label (and, for a field's own head, the field), so each part counts by its
share of those rows. What compares rows with one another, the alignment of fields and the partners of mixup, sees the
part alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from omnifuse.model import ModelOutput, MultimodalModel
from omnifuse.tasks import TaskOutput, task_fields
from omnifuse.tokens import Batch, FieldBatch


@dataclass(frozen=True)
class Share:
    """How much of the whole batch's mean loss of a target a part makes up.

    Attributes:
        fused: Of the fused head's loss.
        fields: Field to the share of its own head's loss.
        num_fields: Fields with a head of their own that any row of the whole batch has.
    """

    fused: float
    fields: Mapping[str, float]
    num_fields: int


def rows_of(batch: Batch, start: int, stop: int) -> Batch:
    """The rows start to stop of a batch, as views."""
    return Batch(
        {name: _field_rows(item, start, stop) for name, item in batch.fields.items()},
        {name: values[start:stop] for name, values in batch.targets.items()},
        batch.weights[start:stop],
        batch.rows[start:stop],
        {name: values[start:stop] for name, values in batch.mixed.items()},
    )


def _field_rows(item: FieldBatch, start: int, stop: int) -> FieldBatch:
    first, last = int(item.present[:start].sum()), int(item.present[:stop].sum())
    begin, end = int(item.lengths[:first].sum()), int(item.lengths[:last].sum())
    values = {name: value[begin:end] for name, value in item.values.items()}
    return FieldBatch(values, item.lengths[first:last], item.present[start:stop])


@dataclass(frozen=True)
class Outline:
    """A whole batch of which this process has a part.

    Attributes:
        whole: Its labels, and which rows have which field, without their values.
        start: Number of the part's first row in it.
    """

    whole: Batch
    start: int


def parts_of(
    batch: Batch, model: MultimodalModel, rows: int, *, outline: Outline | None = None
) -> Iterator[tuple[Batch, Mapping[str, Share] | None]]:
    """Parts of a batch, as even as can be, with the shares of each target; the whole batch has None.

    Args:
        batch: B rows, on the processor.
        model: Its tasks tell which rows have a label.
        rows: Most rows of a part.
        outline: Where `batch` is itself a part, perhaps without rows, what it is a part of.
    """
    if hasattr(model, "rows_at_once"):
        # It compares all rows with one another, so it takes them in parts by itself
        model.rows_at_once = min(int(model.rows_at_once), rows)  # type: ignore[assignment,arg-type]
        yield batch, None
        return
    count = -(-batch.size // rows)
    if outline is None and count <= 1:
        yield batch, None
        return
    counted = _counted(batch if outline is None else outline.whole, model)
    first = 0 if outline is None else outline.start
    for number in range(count):
        start, stop = batch.size * number // count, batch.size * (number + 1) // count
        shares = {}
        for name, heads in counted.items():
            part = {head: _share(weights, first + start, first + stop) for head, weights in heads.items()}
            fields = {head: share for head, share in part.items() if head is not None}
            shares[name] = Share(part[None], fields, len(fields))
        yield rows_of(batch, start, stop), shares


def _share(weights: Tensor, start: int, stop: int) -> float:
    return float(weights[start:stop].sum() / weights.sum().clamp(min=1e-6))


def _counted(batch: Batch, model: MultimodalModel) -> dict[str, dict[str | None, Tensor]]:
    """Target to head (None: the fused one) to the weight (B,) of each row in its loss."""
    found: dict[str, dict[str | None, Tensor]] = {}
    for name, task in zip(model.targets, model.tasks, strict=True):
        if name not in batch.targets:
            continue
        dense = task.dense_target(batch.targets[name])  # type: ignore[operator]
        weights = batch.weights * ~dense.isnan().any(dim=1)
        of_classes = getattr(task, "class_weights", None)
        if of_classes is not None:
            weights = weights * (dense.nan_to_num() @ of_classes.cpu())
        counts = getattr(task, "row_counts", None)
        if counts is not None:
            weights = weights * counts(batch.targets[name])
        found[name] = {None: weights}
        for field in task_fields(task):
            if field in batch.fields and bool(batch.fields[field].present.any()):
                found[name][field] = weights * batch.fields[field].present
    return found


def as_part(
    output: ModelOutput, model: MultimodalModel, size: float, shares: Mapping[str, Share] | None
) -> ModelOutput:
    """What a forward of a part gave, with losses that add up over the parts.

    Args:
        output: Of the part.
        model: Its tasks weigh their fields' heads.
        size: Share of the rows, which is what the alignment counts by.
        shares: Of each target; None for a whole batch, which stays as it is.
    """
    if shares is None:
        return output
    tasks = dict(zip(model.targets, model.tasks, strict=True))
    targets, parts = dict(output.targets), {}
    for name, loss in output.parts.items():
        if name in shares:
            targets[name] = _scaled(targets[name], shares[name], float(tasks[name].auxiliary))  # type: ignore[arg-type]
            loss_of_part = targets[name].loss
            assert loss_of_part is not None
            parts[name] = loss_of_part
        else:
            parts[name] = size * loss
    return replace(output, targets=targets, parts=parts, loss=torch.stack(list(parts.values())).sum())


def _scaled(output: TaskOutput, share: Share, auxiliary: float) -> TaskOutput:
    assert output.fused_loss is not None
    fused = loss = share.fused * output.fused_loss
    for name, value in output.field_losses.items():
        loss = loss + auxiliary * share.fields[name] / share.num_fields * value
    return replace(output, loss=loss, fused_loss=fused)
