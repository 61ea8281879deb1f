"""Running networks over packed rows: raw outputs, complete and for any subset of fields, encoded once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from omnifuse.association import joined_vector
from omnifuse.data.pack import Pack
from omnifuse.model import ModelOutput, MultimodalModel, ShallowAnswers
from omnifuse.readout.raw import RawOutputs, concatenate
from omnifuse.readout.target_readout import FUSED, shallow_head
from omnifuse.tasks import SHALLOW_HEADS, Summary, task_fields
from omnifuse.tokens import Batch, Tokens
from omnifuse.training.batches import make_batch
from omnifuse.training.lanes import Halt, available_lanes, side_by_side
from omnifuse.training.memory import RowsAtOnce

Subset = tuple[str, ...]
Item = TypeVar("Item")
Result = TypeVar("Result")
# Up to so many rows run on one thread
FEW_ROWS = 4
# From so many rows on the members answer side by side
MANY_ROWS = 32


def _field_mean(item: Tokens) -> torch.Tensor:
    """(B, D) mean of the real tokens, NaN where a row lacks the field."""
    weights = item.mask.to(item.values.dtype).unsqueeze(-1)
    mean = (item.values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    return torch.where(item.present.unsqueeze(1), mean, torch.nan)


def _only(items: Mapping[str, Item], subset: Subset) -> dict[str, Item]:
    return {name: item for name, item in items.items() if name in subset}


def _stack(parts: Sequence[torch.Tensor]) -> np.ndarray:
    return np.stack([part.float().cpu().numpy() for part in parts])


def gather_outputs(
    answers: Sequence[tuple[ModelOutput, ShallowAnswers]],
    present: dict[str, np.ndarray],
    headed: Mapping[str, Subset],
    *,
    vectors: bool = False,
) -> RawOutputs:
    """Outputs of all members for B rows as arrays.

    Args:
        answers: Of each member.
        present: Input to (B,) bool: what was shown of the rows.
        headed: Target to the fields that have heads of their own, see `own_heads`.
        vectors: Whether to give the representations too.
    """
    outputs, shallow = [output for output, _ in answers], [found for _, found in answers]
    first, num_rows = outputs[0], len(next(iter(present.values())))
    fused = {t: _stack([output.targets[t].fused for output in outputs]) for t in first.targets}
    fields: dict[str, dict[str, np.ndarray]] = {}
    for t, part in first.targets.items():
        fields[t] = {}
        for name in headed[t]:
            own = np.full(fused[t].shape, np.nan, np.float32)
            if name in part.fields:
                own = _stack([output.targets[t].fields[name] for output in outputs])
                own[:, ~present[name]] = np.nan
            fields[t][name] = own
    for t, found in shallow[0].values.items():
        for name in found:
            fields[t][shallow_head(name)] = _stack([item.values[t][name] for item in shallow])
    spreads = _spreads(outputs, shallow)
    if not vectors:
        return RawOutputs(fused, fields, present, spreads=spreads)
    if first.vectors is not None:
        return RawOutputs(fused, fields, present, *_in_space(outputs, present), spreads)
    pooled = np.concatenate([output.fused.pooled.float().cpu().numpy() for output in outputs], axis=1)
    width = pooled.shape[1]
    field_pooled = {
        name: np.concatenate([_field_mean(output.fields[name]).float().cpu().numpy() for output in outputs], axis=1)
        if name in first.fields
        else np.full((num_rows, width), np.nan, np.float32)
        for name in present
    }
    return RawOutputs(fused, fields, present, pooled, field_pooled, spreads)


def _in_space(
    outputs: Sequence[ModelOutput], present: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Of models with a shared space: the joined vector of each row, and that of each field, NaN where absent."""
    members = [output.vectors or {} for output in outputs]
    there = {name: torch.from_numpy(flags).to(outputs[0].fused.pooled.device) for name, flags in present.items()}
    joined = [joined_vector(found, there).float().cpu().numpy() for found in members]
    fields = {}
    for name, flags in present.items():
        own = np.concatenate([found[name].float().cpu().numpy() for found in members], axis=1)
        own[~flags] = np.nan
        fields[name] = own
    return np.concatenate(joined, axis=1), fields


def _spreads(outputs: Sequence[ModelOutput], shallow: Sequence[ShallowAnswers]) -> dict[str, dict[str, np.ndarray]]:
    """Target to head to (E, B) of the heads that expect an error."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for t, part in outputs[0].targets.items():
        if part.spread is not None:
            parts = [output.targets[t].spread for output in outputs]
            found[t] = {FUSED: _stack([part for part in parts if part is not None])}
    for t, spreads in shallow[0].spreads.items():
        for name in spreads:
            found.setdefault(t, {})[shallow_head(name)] = _stack([answers.spreads[t][name] for answers in shallow])
    return found


@torch.inference_mode()
def run_subsets(
    members: Sequence[MultimodalModel],
    packs: Mapping[str, Pack],
    rows: np.ndarray,
    subsets: Sequence[Subset],
    *,
    batch_size: int = 256,
    vectors: bool = False,
    heads: Collection[str] | None = None,
) -> dict[Subset, RawOutputs]:
    """Raw outputs of rows for several subsets of fields; each field is encoded once.

    Args:
        members: Networks of one architecture, in eval mode.
        packs: Input to decoded arrays; inputs that the networks do not read are ignored.
        rows: Rows to answer.
        subsets: Names of the fields that stay; the others are hidden.
        batch_size: Most rows at a time; fewer where the memory of the device does not suffice.
        vectors: Whether to give the representations too.
        heads: The heads that the caller weighs, all by default; others are not computed (see `TargetReadout.heads`).

    Returns:
        Subset to raw outputs in the order of `rows`.
    """
    names = members[0].fields
    used = {name: packs[name] for name in names}
    headed = own_heads(members[0])

    def run(at_once: int) -> dict[Subset, list[RawOutputs]]:
        return _run(members, used, rows, subsets, headed, heads, batch_size=at_once, vectors=vectors)

    with _threads_for(len(rows)):
        parts = RowsAtOnce(batch_size).run(len(rows), run)
    return {subset: concatenate(found) for subset, found in parts.items()}


def own_heads(member: MultimodalModel) -> dict[str, Subset]:
    """Target to the fields that have heads of their own."""
    tasks = zip(member.targets, member.tasks, strict=True)
    return {target: task_fields(task) for target, task in tasks}


def named_shallow(heads: Collection[str] | None) -> list[str] | None:
    """Names of the shallow heads among these heads; None: all."""
    return None if heads is None else [name for name in SHALLOW_HEADS if shallow_head(name) in heads]


@contextmanager
def _threads_for(num_rows: int) -> Iterator[None]:
    """One thread for a handful of rows: waking the others costs more than their work."""
    before = torch.get_num_threads()
    if num_rows > FEW_ROWS or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(
    members: Sequence[MultimodalModel],
    used: Mapping[str, Pack],
    rows: np.ndarray,
    subsets: Sequence[Subset],
    headed: Mapping[str, Subset],
    heads: Collection[str] | None,
    *,
    batch_size: int,
    vectors: bool,
) -> dict[Subset, list[RawOutputs]]:
    """Subset to the raw outputs of each batch."""
    parts: dict[Subset, list[RawOutputs]] = {tuple(subset): [] for subset in subsets}
    device = next(members[0].parameters()).device
    shallow_names = named_shallow(heads)
    for start in range(0, max(len(rows), 1), batch_size):
        batch = make_batch(used, rows[start : start + batch_size]).to(device)
        found = _of_each(members, batch.size, partial(encode_member, batch, shallow_names))
        pairs = list(zip(members, found, strict=True))
        for subset in parts:
            answers = _of_each(pairs, batch.size, partial(read_member, batch.size, subset, heads, shallow_names))
            present = {
                name: part.present.cpu().numpy() if name in subset else np.zeros(batch.size, bool)
                for name, part in batch.fields.items()
            }
            parts[subset].append(gather_outputs(answers, present, headed, vectors=vectors))
    return parts


Encoded = tuple[dict[str, Tokens], dict[str, Summary]]


def encode_member(batch: Batch, shallow_names: Sequence[str] | None, member: MultimodalModel) -> Encoded:
    """One member's tokens and fixed features of a batch."""
    return member.encode(batch), member.summarise(batch, shallow_names)


def read_member(
    num_rows: int,
    subset: Subset,
    heads: Collection[str] | None,
    shallow_names: Sequence[str] | None,
    pair: tuple[MultimodalModel, Encoded],
) -> tuple[ModelOutput, ShallowAnswers]:
    """One member's answers from some of the fields that it has encoded."""
    member, (tokens, summaries) = pair
    shallow = member.answer_shallow(_only(summaries, subset), num_rows, shallow_names)
    return member.read(_only(tokens, subset), num_rows=num_rows, heads=heads), shallow


def _of_each(items: Sequence[Item], num_rows: int, work: Callable[[Item], Result]) -> list[Result]:
    """Work on each item, with enough rows side by side: one network does not fill two cores."""
    if len(items) == 1 or num_rows < MANY_ROWS or available_lanes() == 1:
        return [work(item) for item in items]

    def job(item: Item) -> Callable[[Halt], Result]:
        def run(_: Halt) -> Result:
            with torch.inference_mode():  # holds for one thread
                return work(item)

        return run

    return side_by_side([job(item) for item in items])
