"""Fits with few labels: heads on the frozen space of a pretrained model, then light tuning of the whole.

The encoders and the space of the model that is begun with stay as they are. On the row's vector in the space, and on
each field's own mean token, stands a linear head: `prototypes` (the nearest class mean) or `logistic` (regression with
a ridge that is chosen on held-out parts of the labelled rows). `tuned` begins at the better of both and trains all
weights a little. Which of the three ships is decided by the labelled rows that each fold's network had not seen.

Shapes: N labelled rows, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omnifuse.api.budget import Budget
from omnifuse.api.choosing import unlearnt_loss
from omnifuse.api.comparison import Comparison, subset_scores
from omnifuse.api.member import Task, member_seed
from omnifuse.api.members import Network, restrict, train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import MemberRows, Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.simple import Asked, simple_scores
from omnifuse.api.start import Start
from omnifuse.building import build_from_spec
from omnifuse.errors import InputError
from omnifuse.fusion import SpaceFusion
from omnifuse.model import MultimodalModel
from omnifuse.presets import Preset
from omnifuse.schema import Schema, TaskKind
from omnifuse.tasks.penalised import Regression, loss_of
from omnifuse.training.batches import make_batch
from omnifuse.training.result import TrainingResult

PROTOTYPES, LOGISTIC, TUNED = "prototypes", "logistic", "tuned"
# What the features (of mean 0 and deviation 1 a row) are multiplied by: larger is a weaker ridge
SCALES = (0.02, 0.05, 0.15, 0.5)
# The nearest mean's answers are multiplied by one of these
SHARPNESS = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015)
NUM_PARTS = 4
TOLERANCE = 1e-6
# Tuning: share of the preset's rate, and most passes
TUNING_RATE, TUNING_EPOCHS = 0.1, 30
# Logit of a class of which no row is learnt from
UNSEEN = -30.0
ROWS_AT_ONCE = 256
SIMPLE_SECONDS = 60.0


def with_space(preset: Preset, start: Start, schema: Schema) -> tuple[Preset, Start, Schema, list[str]]:
    """What is built: the inputs that are taken, fused in the space that is begun with.

    Returns:
        Preset, start and schema of what is taken, and notes on what is not read.

    Raises:
        InputError: The model that is begun with has no space, or one of another width than its tokens.
    """
    if not start.spec.space:
        raise InputError(
            f"the model in '{start.folder}' has no shared space",
            where="few labels are learnt from there",
            fix="Pretrain one: omnifuse pretrain TABLE --drop LABEL --out DIR",
        )
    if start.spec.space != start.spec.dim:
        raise InputError(
            f"the space in '{start.folder}' is {start.spec.space} wide and its tokens are {start.spec.dim}",
            fix="Pretrain it without --set space",
        )
    notes = [f"Few labels teach no new encoder: '{name}' is not read, {why}." for name, why in start.fresh.items()]
    model = replace(
        preset.model,
        fusion="space",
        pooling="mean",
        shallow="none",
        alignment=0.0,
        space=start.spec.space,
    )
    schema = restrict(schema, tuple(start.preprocessors))
    return replace(preset, model=model), replace(start, fresh={}), schema, notes


@dataclass(frozen=True)
class _Begun(Start):
    """A start whose networks are given whole."""

    networks: Sequence[MultimodalModel] = ()

    def give(self, model: MultimodalModel, number: int) -> None:
        """All weights of the network of that number."""
        model.load_state_dict(self.networks[number].state_dict())


@dataclass(frozen=True)
class FewShot:
    """What was learnt from few labels.

    Attributes:
        network: Of the way that was taken.
        losses: Way to its mean log loss on labelled rows that were not learnt from.
        way: The one that was taken.
    """

    network: Network
    losses: Mapping[str, float]
    way: str

    @property
    def words(self) -> str:
        """Which way was taken and why."""
        listed = ", ".join(f"{name} {loss:.4f}" for name, loss in self.losses.items())
        return f"The heads are {self.way}; log loss of labelled rows that were not learnt from: {listed}."


def train_shots(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
    tuning: bool = True,
) -> FewShot:
    """Fit heads in each way and take the best.

    Args:
        prepared: The labelled rows; begins with a model that has a space.
        partition: Folds of them.
        task: What to build: the fusion "space", fields pooled by their mean.
        options: Of the fit.
        seconds: Upper limit for the tuning, None for none.
        listen: Hears of stages.
        tuning: Whether the whole is tuned too.
    """
    target = prepared.schema.chosen[0]
    bases = [_base(prepared, task, number) for number in range(len(partition.members))]
    features = _Features(prepared, partition.calibrate)
    found: dict[str, Network] = {}
    for way in (PROTOTYPES, LOGISTIC):
        members = [
            _headed(prepared, task, base, features.of(base, number), rows, way, number)
            for number, (base, rows) in enumerate(zip(bases, partition.members, strict=True))
        ]
        found[way] = Network(task.spec, task.schema, tuple(members), tuple(TrainingResult() for _ in members), 0.0)
    losses = {way: unlearnt_loss(prepared, partition, network, target) for way, network in found.items()}
    if tuning:
        better = min(losses, key=lambda way: losses[way])
        found[TUNED] = _tuned(prepared, partition, task, found[better], options, seconds, listen)
        losses[TUNED] = unlearnt_loss(prepared, partition, found[TUNED], target)
    way = min(losses, key=lambda name: losses[name])
    return FewShot(found[way], losses, way)


def compare_shots(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    asked: Asked | None,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> Comparison:
    """What the model is held against: the same heads on each single field, and simple models on the same rows."""
    found = Comparison()
    for item in prepared.schema.inputs if len(prepared.schema.inputs) > 1 else ():
        encoders = {name: kind for name, kind in task.spec.encoders.items() if name == item.name}
        schema = restrict(prepared.schema, (item.name,))
        alone = replace(task, spec=replace(task.spec, encoders=encoders), schema=schema)
        network = train_shots(
            prepared, partition, alone, options=options, seconds=None, listen=listen, tuning=False
        ).network
        scores, readouts = subset_scores(prepared, partition, (item.name,), network)
        found.networks[item.name] = (network, readouts)
        for target, values in scores.items():
            found.singles.setdefault(target, {})[item.name] = values
    listen("stage", {"text": "fitting simple models"})
    limit = SIMPLE_SECONDS if seconds is None else min(SIMPLE_SECONDS, seconds)
    found.simple, notes = simple_scores(prepared, partition, asked, seed=task.seed, seconds=limit)
    found.notes += notes
    return found


def _base(prepared: Prepared, task: Task, number: int) -> MultimodalModel:
    """A network with the encoders and the space that are begun with."""
    assert prepared.start is not None, "few labels need a model to begin with"
    torch.manual_seed(member_seed(task, number))
    model = build_from_spec(task.schema, prepared.preprocessors, task.spec, member=number)
    prepared.start.give(model, number)
    other = prepared.start.members[number % len(prepared.start.members)]
    assert model.space is not None, "the model that is built has a space"
    assert other.space is not None, "so has the one that is begun with"
    assert isinstance(model.fusion, SpaceFusion), "and the rows are fused in it"
    for here, name in enumerate(model.fields):
        there = other.fields.index(name)
        for part in ("norms", "layers"):
            state = getattr(other.space, part)[there].state_dict()
            getattr(model.space, part)[here].load_state_dict(state)
            getattr(model.fusion, part)[here].load_state_dict(state)
    return model.eval()


class _Features:
    """What the heads read of the labelled rows, computed once for each network that is begun with."""

    def __init__(self, prepared: Prepared, rows: np.ndarray) -> None:
        self.prepared, self.rows = prepared, rows
        self._known: dict[int, dict[str, tuple[Tensor, np.ndarray]]] = {}

    def of(self, model: MultimodalModel, number: int) -> dict[str, tuple[Tensor, np.ndarray]]:
        """Head ("" for the fused one) to features (N, D) and the row of each; a row stands once for each subset."""
        assert self.prepared.start is not None
        key = number % len(self.prepared.start.members)
        if key not in self._known:
            self._known[key] = _read(model, self.prepared, self.rows)
        return self._known[key]


@torch.no_grad()
def _read(model: MultimodalModel, prepared: Prepared, rows: np.ndarray) -> dict[str, tuple[Tensor, np.ndarray]]:
    """Features of each head: of the fused one for all fields of a row and for each field alone."""
    heads: Any = model.tasks[0].heads
    parts: dict[str, list[tuple[Tensor, np.ndarray]]] = {}
    packs = {name: prepared.packs[name] for name in model.fields}
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        chosen = rows[begin : begin + ROWS_AT_ONCE]
        tokens = model.encode(make_batch(packs, chosen))
        subsets = [tokens] + ([{name: item} for name, item in tokens.items()] if len(tokens) > 1 else [])
        for subset in subsets:
            there = torch.stack([item.present for item in subset.values()]).any(dim=0)
            parts.setdefault("", []).append(
                (heads.fused[0](model.fusion(subset).pooled)[there].double(), chosen[there.numpy()])
            )
        for index, name in enumerate(heads.fields):
            if name in tokens:
                item = tokens[name]
                values = heads.heads[index][0](heads.pools[index](item.values, item.mask))[item.present].double()
                parts.setdefault(name, []).append((values, chosen[item.present.numpy()]))
    return {
        name: (torch.cat([values for values, _ in found]), np.concatenate([places for _, places in found]))
        for name, found in parts.items()
    }


def _headed(
    prepared: Prepared,
    task: Task,
    base: MultimodalModel,
    features: Mapping[str, tuple[Tensor, np.ndarray]],
    rows: MemberRows,
    way: str,
    number: int,
) -> MultimodalModel:
    """A network with the weights of another one and heads that are fitted to its training rows."""
    model = build_from_spec(task.schema, prepared.preprocessors, task.spec, member=number)
    model.load_state_dict(base.state_dict())
    heads: Any = model.tasks[0].heads
    codes = torch.from_numpy(prepared.targets[prepared.schema.chosen[0].name])
    for name, layers in {"": heads.fused, **dict(zip(heads.fields, heads.heads, strict=True))}.items():
        if name not in features:
            continue
        values, places = features[name]
        learnt = np.isin(places, rows.train)
        if learnt.any():
            mine = torch.from_numpy(places[learnt])
            fit_head(layers[-1], values[learnt], codes[mine], mine, way)
    return model.eval()


@torch.no_grad()
def fit_head(layer: nn.Linear, values: Tensor, codes: Tensor, items: Tensor, way: str) -> None:
    """Set a linear layer to the nearest class mean or to a logistic regression.

    Args:
        layer: D to C.
        values: (N, D) float64.
        codes: (N,) classes.
        items: (N,) the row that each stands for: those of one row are held out together.
        way: `PROTOTYPES` or `LOGISTIC`.

    References: Snell et al. 2017, Prototypical Networks, equation 8 (a nearest mean is linear); the scale is that of
    normal classes of one deviation. Chen et al. 2019, A Closer Look at Few-shot Classification (a logistic head).
    """
    weights, bias = (
        nearest_means(values, codes, items, layer.out_features)
        if way == PROTOTYPES
        else logistic(values, codes, items, layer.out_features)
    )
    layer.weight.copy_(weights.T)
    layer.bias.copy_(bias)


def prototypes(values: Tensor, codes: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Weights (D, C) and bias (C,) whose softmax is the posterior of normal classes of one deviation.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [4.0], [5.0]], dtype=torch.float64)
        >>> weights, bias = prototypes(points, torch.tensor([0, 0, 1, 1]), 2)
        >>> (torch.tensor([[2.4], [2.6]], dtype=torch.float64) @ weights + bias).argmax(dim=1).tolist()
        [0, 1]
    """
    shares = torch.nn.functional.one_hot(codes, num_classes).double()
    counts = shares.sum(dim=0)
    means = (shares.T @ values) / counts.clamp(min=1).unsqueeze(1)
    # As many degrees of freedom as rows beyond the means; with one row a class, the spread of the rows themselves
    free = len(values) - int((counts > 0).sum())
    around = values - means[codes] if free > 0 else values - values.mean(dim=0)
    variance = (around.square().mean(dim=1).sum() / max(free, 1)).clamp(min=1e-6)
    bias = -0.5 * means.square().sum(dim=1) / variance
    return means.T / variance, torch.where(counts > 0, bias, bias.min() + UNSEEN)


def nearest_means(values: Tensor, codes: Tensor, items: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """`prototypes`, as sharp as suits held-out items: features are no independent witnesses, as normal classes say."""
    wanted, loss = torch.nn.functional.one_hot(codes, num_classes).double(), loss_of(TaskKind.CLASSIFICATION)
    totals = dict.fromkeys(SHARPNESS, 0.0)
    for held in held_parts(items):
        weights, bias = prototypes(values[~held], codes[~held], num_classes)
        answers = values[held] @ weights + bias
        for by in SHARPNESS:
            totals[by] += float(loss(by * answers, wanted[held]))
    best = min(totals, key=lambda by: totals[by])
    weights, bias = prototypes(values, codes, num_classes)
    return best * weights, best * bias


def logistic(values: Tensor, codes: Tensor, items: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Weights (D, C) and bias (C,) of the logistic regression whose ridge suits held-out items best."""
    kind = TaskKind.CLASSIFICATION
    wanted, loss = torch.nn.functional.one_hot(codes, num_classes).double(), loss_of(kind)
    array = values.numpy()
    totals = dict.fromkeys(SCALES, 0.0)
    for held in held_parts(items):
        learner = Regression([array[~held.numpy()]], wanted[~held], kind)
        for scale in SCALES:
            answers = learner.fit([scale], tolerance=TOLERANCE).answers([array[held.numpy()]])
            totals[scale] += float(loss(answers, wanted[held]))
    best = min(totals, key=lambda scale: totals[scale])
    line = Regression([array], wanted, kind).fit([best], tolerance=TOLERANCE)
    return line.weights[0], line.bias


def held_parts(items: Tensor) -> list[Tensor]:
    """Masks (N,) of the parts that are held out in turn; what is of one item is held out together."""
    _, order = torch.unique(items, return_inverse=True)
    part_of = torch.from_numpy(np.random.default_rng(0).permutation(int(order.max()) + 1) % NUM_PARTS)
    parts = [part_of[order] == part for part in range(NUM_PARTS)]
    return [held for held in parts if bool(held.any()) and not bool(held.all())]


def _tuned(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    begun: Network,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> Network:
    """All weights trained a little, from a network with fitted heads on."""
    start = prepared.start
    assert start is not None
    whole = _Begun(
        start.folder,
        start.model_id,
        start.spec,
        start.members,
        start.preprocessors,
        start.fresh,
        start.unused,
        networks=begun.members,
    )
    training = replace(
        task.training,
        learning_rate=task.training.learning_rate * TUNING_RATE,
        epochs=min(task.training.epochs, TUNING_EPOCHS),
        mixup=0.0,
        cutmix=0.0,
    )
    listen("stage", {"text": f"tuning {len(partition.members)} networks: {partition.words}"})
    network = train_members(
        replace(prepared, start=whole),
        partition,
        replace(task, training=training),
        options=options,
        budget=Budget(seconds, (1.0,) * len(partition.members)),
        listen=listen,
    )
    for model in network.members:
        for part in ("norms", "layers"):
            # What embeds is what answers
            getattr(model.space, part).load_state_dict(getattr(model.fusion, part).state_dict())
    return network
