"""What the model is held against: a network for each single field, and simple models, on the same rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.api.budget import Budget
from omnifuse.api.member import Task
from omnifuse.api.members import Network, answers_of_members, restrict, train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.scoring import bare_readout, crossfitted_scores
from omnifuse.api.simple import Asked, simple_scores
from omnifuse.building import build_from_spec
from omnifuse.evaluation import count_flops, fit_readout
from omnifuse.readout import TargetReadout
from omnifuse.training.batches import make_batch
from omnifuse.training.predict import Subset

# Of the model's time: two parts for single-field networks, one for simple models, together at most a half
SINGLES_SHARE, SIMPLE_SHARE = 0.35, 0.15
# Single-field networks share the time by their operations a row to this power: heavy ones get more, light ones enough
COST_POWER, LEAST_COST = 0.5, 1e5


@dataclass
class Comparison:
    """Answers to the report rows by what the model is held against.

    Attributes:
        singles: Target to input to scores.
        simple: Target to name to scores.
        networks: Input to its network and readouts, kept for `evaluate`.
        notes: What was left out.
    """

    singles: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    simple: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    networks: dict[str, tuple[Network, dict[str, TargetReadout]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def train_singles(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> dict[str, Network]:
    """A network of the same kind for each input alone."""
    tasks = {
        item.name: replace(
            task,
            name=f"{task.name}-only-{number}",
            spec=replace(task.spec, encoders={k: v for k, v in task.spec.encoders.items() if k == item.name}),
            # What is written is not compared: a single field's network answers the others
            schema=replace(restrict(prepared.schema, (item.name,)), targets=prepared.schema.chosen),
        )
        for number, item in enumerate(prepared.schema.inputs)
    }
    costs = [_cost(prepared, partition, alone) for alone in tasks.values()]
    budget = Budget(seconds, tuple(cost for cost in costs for _ in partition.members))
    return {
        name: train_members(prepared, partition, alone, options=options, budget=budget, listen=listen)
        for name, alone in tasks.items()
    }


def _cost(prepared: Prepared, partition: Partition, task: Task) -> float:
    """Share of the time that a single-field network gets: by its operations a row."""
    import torch

    model = build_from_spec(task.schema, prepared.preprocessors, task.spec).eval()
    name = task.schema.inputs[0].name
    rows = partition.members[0].train
    rows = rows[prepared.packs[name].present[rows]][:8]
    if not len(rows):
        return float(LEAST_COST**COST_POWER)
    batch = make_batch({name: prepared.packs[name]}, rows)
    with torch.inference_mode():
        return float(max(count_flops(lambda: model(batch)) / len(rows), LEAST_COST) ** COST_POWER)


def subset_scores(
    prepared: Prepared, partition: Partition, subset: Subset, network: Network
) -> tuple[dict[str, np.ndarray], dict[str, TargetReadout]]:
    """Target to scores of the report rows by a network that is given these inputs alone, and its readouts."""
    scores, readouts = {}, {}
    schema = network.schema
    for target in schema.chosen:
        encoded = prepared.targets[target.name]
        bare = bare_readout(target, schema, encoded, partition.members[0].train, level=network.spec.interval)
        calibrate = answers_of_members(prepared, partition, network, partition.calibrate, [subset])
        stretches = partition.stretches(partition.calibrate)
        readouts[target.name] = fit_readout(bare, calibrate, encoded[partition.calibrate], stretches=stretches)
        if partition.fold is not None:
            folds, truth = partition.fold[partition.calibrate], encoded[partition.calibrate]
            found = crossfitted_scores(bare, calibrate, truth, folds, in_time=partition.in_time)[subset]
            found = found[partition.places]
        else:
            report = answers_of_members(prepared, partition, network, partition.report, [subset])
            found = readouts[target.name].scores(report[subset])
        scores[target.name] = found
    return scores, readouts


def compare(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    asked: Asked | None,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> Comparison:
    """Train and score everything that the model is held against.

    Args:
        prepared: The table.
        partition: The same rows as the model's.
        task: The model's task; single-field networks are built like it.
        asked: Another table whose rows are scored, or None.
        options: Of the fit.
        seconds: The model's own time limit; at most half of it is used. None for no limit.
        listen: Hears of stages.
    """
    found = Comparison()
    if not prepared.schema.chosen:
        return Comparison(notes=["Texts that are written are not held against single fields and simple models."])
    if len(prepared.schema.inputs) > 1:
        listen("stage", {"text": "training a network on each single field, to see whether fusing helps"})
        limit = None if seconds is None else seconds * SINGLES_SHARE
        networks = train_singles(prepared, partition, task, options=options, seconds=limit, listen=listen)
        for name, network in networks.items():
            scores, readouts = subset_scores(prepared, partition, (name,), network)
            found.networks[name] = (network, readouts)
            for target, values in scores.items():
                found.singles.setdefault(target, {})[name] = values
    listen("stage", {"text": "fitting simple models"})
    limit = 60.0 if seconds is None else max(seconds * SIMPLE_SHARE, 5.0)
    found.simple, notes = simple_scores(prepared, partition, asked, seed=task.seed, seconds=limit)
    found.notes += notes
    return found


def no_comparison() -> Comparison:
    """Where baselines were not wanted."""
    return Comparison(notes=["Single fields and simple models were left out (--no-baselines)."])


def singles_folder(folder: Path) -> Path:
    """Where the single-field networks of a run lie: beside the model, since they do not ship."""
    return folder / "singles"


def as_models(comparison: Comparison, prepared: Prepared) -> dict[str, Any]:
    """Input to its single-field network as a model, to be saved beside the model."""
    from omnifuse.api.model import Model
    from omnifuse.model import Ensemble

    models = {}
    for name, (network, readouts) in comparison.networks.items():
        models[name] = Model(
            Ensemble(network.members),
            schema=network.schema,
            preprocessors={name: prepared.preprocessors[name]},
            readouts=readouts,
            manifest={"spec": network.spec.to_json(), "num_members": len(network.members)},
        )
    return models
