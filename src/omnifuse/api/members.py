"""Training the networks of one fit within one time limit, and their answers on unseen rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from omnifuse.api.budget import LEAST_SECONDS, Budget
from omnifuse.api.joint_progress import JointProgress
from omnifuse.api.member import Task, fit_shallow, member_seed, network_of, prepare_member, take_shallow
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.model import MultimodalModel
from omnifuse.presets import ModelSpec
from omnifuse.readout.raw import RawOutputs, concatenate
from omnifuse.schema import Modality, Schema
from omnifuse.training.lanes import Halt, available_lanes, draws_globally, group_sizes, side_by_side
from omnifuse.training.loop import Trainer
from omnifuse.training.predict import Subset, run_subsets
from omnifuse.training.result import TrainingResult, parts_words, rows_words, spike_words


@dataclass(frozen=True)
class Network:
    """What was trained: its members, how the training of each went, and the seconds that all of them took."""

    spec: ModelSpec
    schema: Schema
    members: tuple[MultimodalModel, ...]
    results: tuple[TrainingResult, ...]
    seconds: float


def restrict(schema: Schema, names: tuple[str, ...]) -> Schema:
    """The schema with only the fields of the given inputs."""
    wanted = {item.name for item in schema.fields if (item.part_of or item.name) in names}
    for item in schema.inputs:
        if item.modality is Modality.TABLE:
            columns = set(item.columns)
            wanted = wanted | columns if item.name in names else wanted - columns
    return replace(schema, fields=tuple(item for item in schema.fields if item.name in wanted))


def train_members(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    options: FitOptions,
    budget: Budget,
    listen: Listener,
    like: Network | None = None,
) -> Network:
    """Train one network a member of the partition.

    Args:
        prepared: Packs and targets of all rows.
        partition: Which rows each member learns from.
        task: What to train.
        options: Of the fit: epochs, resume, logger.
        budget: The time left.
        listen: Hears of each step.
        like: Learnt from the same rows with the same seed: its shallow heads are taken over and not fitted again.
    """
    count = len(partition.members)
    trainers = [prepare_member(prepared, partition.members[0], task, 0, options=options)]
    # The first network's precision is that of all
    task = replace(task, training=replace(task.training, precision=trainers[0].result.precision))
    lanes = 1 if draws_globally(trainers[0].model) else available_lanes()
    members: list[MultimodalModel] = []
    results: list[TrainingResult] = []
    taken = 0.0

    for size in group_sizes(count, lanes):
        first = len(members)
        numbers = range(first + len(trainers), first + size)
        trainers += [prepare_member(prepared, partition.members[n], task, n, options=options) for n in numbers]
        span = f"{first + 1}-{first + size}" if size > 1 else f"{first + 1}"
        together = JointProgress(f"{task.name} {span}/{count}", size, budget, listen)
        seconds = budget.share(size)
        jobs = []
        for number, trainer in enumerate(trainers, start=first):
            trainer.report = together.report(number - first)
            rows, seed = partition.members[number].train, member_seed(task, number)
            network = network_of(trainer.model)
            if like is None:
                shallow = partial(fit_shallow, network, prepared, rows, task.schema, seed)
            else:
                shallow = partial(take_shallow, network, like.members[number])
            jobs.append(_job(trainer, shallow, seconds, options))
        results += side_by_side(jobs)
        members += [network_of(trainer.model) for trainer in trainers]
        taken += max(result.seconds for result in results[first:])
        budget.done += size
        trainers = []
    return Network(task.spec, task.schema, tuple(members), tuple(results), taken)


def _job(
    trainer: Trainer, shallow: Callable[[], None], seconds: float | None, options: FitOptions
) -> Callable[[Halt], TrainingResult]:
    """The training of one network: what is fitted at once, then the rest, all within its seconds."""

    def run(halt: Halt) -> TrainingResult:
        trainer.halt = halt
        began = time.monotonic()
        try:
            shallow()
            left = None if seconds is None else max(seconds - (time.monotonic() - began), LEAST_SECONDS)
            return trainer.run(seconds=left, epochs=options.epochs, resume=options.resume)
        finally:
            trainer.logger.close()

    return run


def training_notes(results: Sequence[TrainingResult]) -> list[str]:
    """Sentences on what went wrong in the training of a fit's networks, none where nothing did."""
    notes = []
    for number, result in enumerate(results, start=1):
        if result.bad_steps:
            first = result.bad_steps[0]
            notes.append(
                f"Network {number}: {len(result.bad_steps)} of {result.steps} steps were left out, since their loss or "
                f"gradient was not finite, the first at step {first.step} with {rows_words(first.rows)}."
            )
        if result.rows_at_once:
            notes.append(f"Network {number}: the device ran out of memory, {parts_words(result.rows_at_once)}.")
        if result.unsaved:
            step, reason = result.unsaved[-1]
            notes.append(
                f"Network {number}: {len(result.unsaved)} checkpoints could not be written, the last at step {step} "
                f"({reason})."
            )
        if result.spikes:
            worst = max(result.spikes, key=lambda item: item[1] / max(item[2], 1e-12))
            more = f", the worst of {len(result.spikes)} such steps" if len(result.spikes) > 1 else ""
            notes.append(
                f"Network {number}: {spike_words(*worst)}{more}. Look for wild numbers, or lower the rate with --set "
                "learning_rate=VALUE."
            )
    return notes


def answers_of_members(
    prepared: Prepared, partition: Partition, network: Network, rows: np.ndarray, subsets: Sequence[Subset]
) -> dict[Subset, RawOutputs]:
    """Raw outputs of rows for each subset of inputs, by members that had not learnt from them.

    With folds each row is answered by its own fold's member alone; with separate cuts by all members.

    Args:
        prepared: Packs of all rows.
        partition: Says which member answers which row.
        network: The members.
        rows: Rows to answer, in the order wanted.
        subsets: Names of the inputs that stay.
    """
    if partition.fold is None:
        return run_subsets(network.members, prepared.packs, rows, subsets)
    found: dict[Subset, list[RawOutputs]] = {subset: [] for subset in subsets}
    places = []
    asked = np.zeros(len(next(iter(prepared.packs.values())).present), bool)
    asked[rows] = True
    for member, part in zip(network.members, partition.members, strict=True):
        own = part.out[asked[part.out]]
        places.append(own)
        for subset, raw in run_subsets([member], prepared.packs, own, subsets).items():
            found[subset].append(raw)
    order = np.argsort(np.concatenate(places), kind="stable")[
        np.argsort(np.argsort(rows, kind="stable"), kind="stable")
    ]
    return {subset: concatenate(parts).rows(order) for subset, parts in found.items()}
