"""Training the networks of one fit within one time limit, and their answers on unseen rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import MemberRows, Partition
from omnifuse.api.prepare import Prepared
from omnifuse.building import build_from_spec
from omnifuse.data.augment import Augmenter
from omnifuse.model import MultimodalModel
from omnifuse.presets import ModelSpec, TrainingSpec
from omnifuse.readout.raw import RawOutputs, concatenate
from omnifuse.schema import Modality, Schema, TaskKind
from omnifuse.tasks import ClassificationTask, OrdinalTask
from omnifuse.training.batches import BatchSource, make_batch
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.lanes import Halt, available_lanes, draws_globally, group_sizes, side_by_side
from omnifuse.training.loggers import make_logger
from omnifuse.training.loop import Report, Trainer
from omnifuse.training.memory import RowsAtOnce
from omnifuse.training.precision import choose_batch_size, choose_precision
from omnifuse.training.predict import Subset, run_subsets
from omnifuse.training.result import TrainingResult, parts_words, rows_words, spike_words
from omnifuse.training.sampling import row_weights

# Encoders measure their statistics on at most so many training rows
MEASURED_ROWS = 2000
# Rows that a network is judged by, at once
JUDGED_AT_ONCE = 256
# A network trains so long however little time is left
LEAST_SECONDS = 1.0


@dataclass
class Budget:
    """A time limit shared by several networks in order: each gets its weight's share of what is left."""

    seconds: float | None
    weights: tuple[float, ...]
    started: float = field(default_factory=time.monotonic)
    done: int = 0

    def share(self, networks: int = 1) -> float | None:
        """Seconds for the next networks, trained side by side; None where there is no limit."""
        if self.seconds is None:
            return None
        left = self.seconds - (time.monotonic() - self.started)
        ahead = sum(self.weights[self.done :])
        return max(left, LEAST_SECONDS) * (sum(self._next(networks)) / ahead if ahead else 1.0)

    def eta(self, fraction: float, networks: int = 1) -> float:
        """Seconds until all networks are trained, from the time that the finished share took."""
        done = (sum(self.weights[: self.done]) + fraction * sum(self._next(networks))) / sum(self.weights)
        elapsed = time.monotonic() - self.started
        left = elapsed * (1 - done) / max(done, 1e-3)
        return left if self.seconds is None else min(left, max(self.seconds - elapsed, 0.0))

    def _next(self, networks: int) -> tuple[float, ...]:
        return self.weights[self.done : self.done + networks]


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


@dataclass(frozen=True)
class Task:
    """One series of networks: what to build, which inputs it reads, and where it keeps its checkpoints.

    Attributes:
        name: For the progress line and the folders.
        spec: What to build.
        training: How to train it.
        schema: Which inputs the networks read (a part of the table's, for single-field networks).
        folder: Checkpoints go to folder/checkpoints/NAME-K and curves to folder/logs/NAME-K.
        seed: Of weights, order, dropout.
    """

    name: str
    spec: ModelSpec
    training: TrainingSpec
    schema: Schema
    folder: Path
    seed: int


def train_members(
    prepared: Prepared, partition: Partition, task: Task, *, options: FitOptions, budget: Budget, listen: Listener
) -> Network:
    """Train one network a member of the partition.

    Args:
        prepared: Packs and targets of all rows.
        partition: Which rows each member learns from.
        task: What to train.
        options: Of the fit: epochs, resume, logger.
        budget: The time left.
        listen: Hears of each step.
    """
    count = len(partition.members)
    trainers = [prepare_member(prepared, partition.members[0], task, 0, options=options)]
    # The first network's precision is that of all
    task = replace(task, training=replace(task.training, precision=trainers[0].result.precision))
    lanes = 1 if draws_globally(trainers[0].model) else available_lanes()
    members: list[MultimodalModel] = []
    results: list[TrainingResult] = []
    taken = 0.0

    def job(number: int, trainer: Trainer, report: Report, seconds: float | None) -> Callable[[Halt], TrainingResult]:
        trainer.report = report
        rows, seed = partition.members[number].train, member_seed(task, number)
        shallow = partial(_fit_shallow, trainer.model, prepared, rows, task.schema, seed)
        return _job(trainer, shallow, seconds, options)

    for size in group_sizes(count, lanes):
        first = len(members)
        numbers = range(first + len(trainers), first + size)
        trainers += [prepare_member(prepared, partition.members[n], task, n, options=options) for n in numbers]
        span = f"{first + 1}-{first + size}" if size > 1 else f"{first + 1}"
        together = _Together(f"{task.name} {span}/{count}", size, budget, listen)
        seconds = budget.share(size)
        results += side_by_side(
            [job(first + lane, trainer, together.report(lane), seconds) for lane, trainer in enumerate(trainers)]
        )
        members += [trainer.model for trainer in trainers]
        taken += max(result.seconds for result in results[first:])
        budget.done += size
        trainers = []
    return Network(task.spec, task.schema, tuple(members), tuple(results), taken)


def _job(
    trainer: Trainer, fit_shallow: Callable[[], None], seconds: float | None, options: FitOptions
) -> Callable[[Halt], TrainingResult]:
    """The training of one network: what is fitted at once, then the rest, all within its seconds."""

    def run(halt: Halt) -> TrainingResult:
        trainer.halt = halt
        began = time.monotonic()
        try:
            fit_shallow()
            left = None if seconds is None else max(seconds - (time.monotonic() - began), LEAST_SECONDS)
            return trainer.run(seconds=left, epochs=options.epochs, resume=options.resume)
        finally:
            trainer.logger.close()

    return run


class _Together:
    """One progress line for networks that train side by side: sums and means of what they tell."""

    def __init__(self, title: str, networks: int, budget: Budget, listen: Listener) -> None:
        self.title, self.networks, self.budget, self.listen = title, networks, budget, listen
        self.latest: dict[int, dict[str, Any]] = {}
        self.lock = threading.Lock()

    def report(self, lane: int) -> Report:
        """Takes what the network of one lane tells."""

        def report(data: dict[str, Any]) -> None:
            with self.lock:
                self.latest[lane] = data
                if data.get("remark"):
                    self.listen("note", {"text": f"{self.title}: {data['remark']}"})
                self.listen("train", self._joined())

        return report

    def _joined(self) -> dict[str, Any]:
        told = list(self.latest.values())
        fraction = sum(item["fraction"] for item in told) / self.networks
        scores = [item["score"] for item in told if item["score"] is not None]
        return {
            "name": self.title,
            "step": sum(item["step"] for item in told),
            "steps": sum(item["steps"] for item in told),
            "epoch": min(item["epoch"] for item in told),
            "fraction": fraction,
            "loss": sum(item["loss"] for item in told) / len(told),
            "score": sum(scores) / len(scores) if scores else None,
            "samples_per_s": sum(item["samples_per_s"] for item in told),
            "wait_share": sum(item["wait_share"] for item in told) / len(told),
            "memory_mb": max(item["memory_mb"] for item in told),
            "done": len(told) == self.networks and all(item["done"] for item in told),
            "eta_s": self.budget.eta(fraction, self.networks),
        }


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


def training_targets(prepared: Prepared, schema: Schema, rows: np.ndarray) -> dict[str, Any]:
    """Target to tensor of all rows; numbers standardised by the rows that are learnt from."""
    import torch

    found = {}
    for target in schema.targets:
        encoded = prepared.targets[target.name]
        if target.kind is TaskKind.REGRESSION:
            mean, scale = number_scale(encoded[rows])
            encoded = ((encoded - mean) / scale).astype(np.float32)
        found[target.name] = torch.from_numpy(np.ascontiguousarray(encoded))
    return found


def number_scale(values: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of the known labels."""
    known = values[~np.isnan(values)]
    return float(known.mean()), float(max(known.std(), 1e-12))


def sampling_weights(prepared: Prepared, schema: Schema, rows: np.ndarray, sampling: str) -> np.ndarray | None:
    """How often an epoch draws each row that is learnt from; None where each is drawn once."""
    return row_weights([(target.kind, prepared.targets[target.name][rows]) for target in schema.targets], sampling)


def _balance(
    model: MultimodalModel, prepared: Prepared, rows: np.ndarray, power: float, drawn: np.ndarray | None
) -> None:
    """Class weights in the loss: inverse frequency among the rows as they are drawn to a power, mean 1 over them."""
    import torch

    for name, task in zip(model.targets, model.tasks, strict=True):
        if not isinstance(task, ClassificationTask | OrdinalTask) or power <= 0:
            continue
        codes = prepared.targets[name][rows]
        often = None if drawn is None else drawn[codes >= 0]
        counts = np.maximum(np.bincount(codes[codes >= 0], weights=often, minlength=task.num_outputs), 1)
        weights = (counts.sum() / counts) ** power
        weights = weights / ((weights * counts).sum() / counts.sum())
        task.class_weights.copy_(torch.from_numpy(weights.astype(np.float32)))


def judge_on(
    prepared: Prepared, schema: Schema, stop: np.ndarray, train: np.ndarray
) -> Callable[[MultimodalModel], float] | None:
    """Minus the loss on the rows that it stops by, None where there are none."""
    if not len(stop):
        return None
    targets = training_targets(prepared, schema, train)

    def judge(model: MultimodalModel) -> float:
        return -RowsAtOnce(JUDGED_AT_ONCE).run(len(stop), lambda at_once: mean_loss(model, at_once))

    def mean_loss(model: MultimodalModel, at_once: int) -> float:
        import torch

        device = next(model.parameters()).device
        losses, packs = [], {item.name: prepared.packs[item.name] for item in schema.inputs}
        with torch.inference_mode():
            for start in range(0, len(stop), at_once):
                rows = stop[start : start + at_once]
                batch = make_batch(packs, rows, targets=targets).to(device)
                output = model(batch)
                parts = [item.fused_loss for item in output.targets.values() if item.fused_loss is not None]
                losses.append(float(torch.stack(parts).sum()) * len(rows))
        return sum(losses) / len(stop)

    return judge


def _augmenter(prepared: Prepared, task: Task) -> Augmenter | None:
    training = task.training
    if training.augment <= 0:
        return None
    modalities = {item.name: item.modality for item in task.schema.inputs}
    return Augmenter.default(
        modalities,
        training.augment,
        preprocessors=prepared.preprocessors,
        reverberation=training.reverberation,
    )


def _fit_shallow(model: MultimodalModel, prepared: Prepared, train: np.ndarray, schema: Schema, seed: int) -> None:
    """Fit the shallow heads to training rows, at most as many as they take."""
    if not model.shallow_targets:
        return
    most = min(int(head.most_rows) for heads in model.shallow for head in heads.children())  # type: ignore[arg-type]
    rows = np.sort(np.random.default_rng(seed).permutation(train)[:most])
    packs = {name: prepared.packs[name] for name in model.summarised_fields()}
    model.fit_shallow(make_batch(packs, rows, targets=training_targets(prepared, schema, train)))


def member_seed(task: Task, number: int) -> int:
    """Of all that is random in one network of a series."""
    return task.seed * 1000 + number


def prepare_member(prepared: Prepared, rows: MemberRows, task: Task, number: int, *, options: FitOptions) -> Trainer:
    """Build one network and make it ready to train; its shallow heads are not fitted yet."""
    import torch

    seed = member_seed(task, number)
    torch.manual_seed(seed)
    model = build_from_spec(task.schema, prepared.preprocessors, task.spec, member=number)
    packs = {item.name: prepared.packs[item.name] for item in task.schema.inputs}
    measured = np.random.default_rng(seed).permutation(rows.train)[:MEASURED_ROWS]
    model.initialise(make_batch(packs, measured))
    drawn = sampling_weights(prepared, task.schema, rows.train, task.training.sampling)
    _balance(model, prepared, rows.train, task.training.balance, drawn)
    change = _augmenter(prepared, task)
    source = BatchSource(
        packs,
        training_targets(prepared, task.schema, rows.train),
        rows.train,
        task.training.batch_size or choose_batch_size(len(rows.train)),
        seed,
        change,
        drawn,
    )
    some = make_batch(packs, measured[: source.batch_size], targets=source.targets)
    precision = choose_precision(task.training.precision, model, some, by_time=options.epochs is None)
    return Trainer(
        model,
        source,
        task.training,
        seed=seed,
        place=CheckpointFolder(task.folder / "checkpoints" / f"{task.name}-{number}"),
        logger=make_logger(options.logger, task.folder / "logs" / f"{task.name}-{number}"),
        judge=judge_on(prepared, task.schema, rows.stop, rows.train),
        precision=precision,
    )


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
