"""One network of a fit: built from prepared rows and made ready to train."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from omnifuse.api.options import FitOptions
from omnifuse.api.partition import MemberRows
from omnifuse.api.prepare import Prepared
from omnifuse.api.teaching import taught
from omnifuse.building import build_from_spec, sound_of
from omnifuse.data.augment import Augment, Augmenter
from omnifuse.model import MultimodalModel
from omnifuse.presets import ModelSpec, TrainingSpec
from omnifuse.schema import Schema, TaskKind
from omnifuse.tasks import ClassificationTask, OrdinalTask
from omnifuse.training.batches import BatchSource, make_batch
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.loggers import make_logger
from omnifuse.training.loop import Trainer
from omnifuse.training.memory import RowsAtOnce
from omnifuse.training.precision import choose_batch_size, choose_precision
from omnifuse.training.pretraining import second_view
from omnifuse.training.ranks import agreed, is_first
from omnifuse.training.sampling import row_weights
from omnifuse.training.semi_supervised import SemiSource, SemiSupervised

# Encoders measure their statistics on at most so many training rows
MEASURED_ROWS = 2000
# Rows that a network is judged by, at once
JUDGED_AT_ONCE = 256
# Of the views that a teacher's answers are learnt from
STRONG_AUGMENT = 2.0


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


def training_targets(prepared: Prepared, schema: Schema, rows: np.ndarray) -> dict[str, Any]:
    """Target to tensor of all rows, a teacher's answers mixed in; numbers standardised by the rows learnt from."""
    import torch

    found = {}
    for target in schema.targets:
        labels = encoded = prepared.targets[target.name]
        if target.name in prepared.taught:
            encoded = taught(target, labels, prepared.taught[target.name])
        if target.kind is TaskKind.REGRESSION:
            mean, scale = number_scale(labels[rows])
            encoded = (encoded - mean) / scale
        if encoded.dtype == np.float64:
            encoded = encoded.astype(np.float32)
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
    # A student too is judged by the labels alone
    targets = training_targets(replace(prepared, taught={}), schema, train)

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


def augmenter_of(prepared: Prepared, schema: Schema, training: TrainingSpec) -> Augmenter | None:
    """What happens to training rows, None for nothing."""
    if training.augment <= 0:
        return None
    modalities = {item.name: item.modality for item in schema.inputs}
    transcribes = any(item.kind is TaskKind.TRANSCRIPTION for item in schema.targets)
    return Augmenter.default(
        modalities,
        training.augment,
        preprocessors=prepared.preprocessors,
        reverberation=training.reverberation,
        transcribed=sound_of(schema) if transcribes else "",
    )


def fit_shallow(model: MultimodalModel, prepared: Prepared, train: np.ndarray, schema: Schema, seed: int) -> None:
    """Fit the shallow heads to training rows, at most as many as they take."""
    if not model.shallow_targets:
        return
    most = min(int(head.most_rows) for heads in model.shallow for head in heads.children())  # type: ignore[arg-type]
    rows = np.sort(np.random.default_rng(seed).permutation(train)[:most])
    packs = {name: prepared.packs[name] for name in model.summarised_fields()}
    model.fit_shallow(make_batch(packs, rows, targets=training_targets(prepared, schema, train)))


def take_shallow(model: MultimodalModel, other: MultimodalModel) -> None:
    """Copy the shallow heads of a network that differs in its fusion alone and learnt from the same rows."""
    device = next(model.parameters()).device
    model.shallow = copy.deepcopy(other.shallow).to(device)


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
    if prepared.start is not None:
        prepared.start.give(model, number)
    drawn = sampling_weights(prepared, task.schema, rows.train, task.training.sampling)
    _balance(model, prepared, rows.train, task.training.balance, drawn)
    change = augmenter_of(prepared, task.schema, task.training)
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
    precision = agreed(choose_precision(task.training.precision, model, some, by_time=options.epochs is None))
    training, learner = task.training, model
    if prepared.unlabelled is not None:
        learner, source = _with_unlabelled(model, source, prepared, rows.train, task)
        training = replace(training, mixup=0.0, cutmix=0.0, balancing="none")
    return Trainer(
        learner,
        source,
        training,
        seed=seed,
        place=CheckpointFolder(task.folder / "checkpoints" / f"{task.name}-{number}"),
        logger=make_logger(options.logger if is_first() else "none", task.folder / "logs" / f"{task.name}-{number}"),
        judge=judge_on(prepared, task.schema, rows.stop, rows.train),
        precision=precision,
    )


def _with_unlabelled(
    model: MultimodalModel, source: BatchSource, prepared: Prepared, train: np.ndarray, task: Task
) -> tuple[MultimodalModel, BatchSource]:
    """The network and its batches with rows without a label: a weak view of them, and a strong one."""
    import torch

    assert prepared.unlabelled is not None
    unlabelled = prepared.unlabelled
    names = [item.name for item in task.schema.inputs]
    lone = np.zeros(len(next(iter(unlabelled.packs.values())).present), bool)
    lone[unlabelled.rows] = True
    packs, policy = {name: unlabelled.packs[name] for name in names}, dict[str, Augment | None]()
    weak = augmenter_of(prepared, task.schema, task.training)
    strong = augmenter_of(prepared, task.schema, replace(task.training, augment=STRONG_AUGMENT))
    for name in names:
        policy[name] = weak.policy.get(name) if weak is not None else None
        policy[second_view(name)] = strong.policy.get(name) if strong is not None else None
        packs[second_view(name)] = replace(packs[name], present=packs[name].present & lone)
    shares, targets = {}, {}
    for target in task.schema.targets:
        codes = prepared.targets[target.name]
        known = codes[train][codes[train] >= 0]
        shares[target.name] = torch.from_numpy(np.bincount(known, minlength=len(target.classes)) + 0.5)
        found = source.targets[target.name]
        more = found.new_full((len(lone) - len(found), *found.shape[1:]), -1 if found.ndim == 1 else 0)
        targets[target.name] = torch.cat([found, more])
    learner = SemiSupervised(model, shares)
    others = SemiSource(
        packs, targets, train, source.batch_size, source.seed, Augmenter(policy), others=unlabelled.rows
    )
    # It stands where a network stands: the loop asks a forward, targets and tasks of it
    return cast("MultimodalModel", learner), others


def network_of(learner: MultimodalModel) -> MultimodalModel:
    """The network that ships of what the loop trained."""
    return learner.model if isinstance(learner, SemiSupervised) else learner
