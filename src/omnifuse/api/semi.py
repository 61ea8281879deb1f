"""Fits with rows without a label: a network with them beside one of the same labelled rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from omnifuse.api.budget import Budget
from omnifuse.api.choosing import unlearnt_loss
from omnifuse.api.comparison import Comparison, subset_scores
from omnifuse.api.member import Task
from omnifuse.api.members import Network, train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.simple import Asked
from omnifuse.api.unlabelled import without_foreign
from omnifuse.training.predict import run_subsets

WITH, WITHOUT = "with unlabelled rows", "labelled rows only"


@dataclass(frozen=True)
class Semi:
    """Both networks.

    Attributes:
        prepared: The rows, without those that come from another distribution; without any unlabelled one where these
            did not help.
        networks: `WITH` and `WITHOUT` to the network.
        losses: The same to the mean log loss of labelled rows that were not learnt from.
        words: Sentences on the rows and on which network ships.
        facts: For the manifest.
    """

    prepared: Prepared
    networks: Mapping[str, Network]
    losses: Mapping[str, float]
    words: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def way(self) -> str:
        """The one that ships: of less loss."""
        return min(self.losses, key=lambda name: self.losses[name])

    @property
    def network(self) -> Network:
        """The network that ships."""
        return self.networks[self.way]


def train_semi(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> Semi:
    """Train on the labelled rows alone, leave out rows from another distribution, and train with the others.

    Args:
        prepared: Labelled rows, and others.
        partition: Of the labelled rows.
        task: What to train.
        options: Of the fit.
        seconds: Time limit of both together; each takes half of it.
        listen: Hears of stages.
    """
    unlabelled = prepared.unlabelled
    assert unlabelled is not None, "there are no rows without a label"
    count = len(partition.members)
    half = None if seconds is None else seconds / 2
    listen("stage", {"text": f"training {count} networks on the labelled rows alone: {partition.words}"})
    alone = replace(prepared, unlabelled=None)
    networks = {
        WITHOUT: train_members(
            alone,
            partition,
            replace(task, name=f"{task.name}-labelled"),
            options=options,
            budget=Budget(half, (1.0,) * count),
            listen=listen,
        )
    }
    unlabelled = without_foreign(unlabelled, partition, networks[WITHOUT])
    words = [unlabelled.words]
    listen("note", {"text": words[0]})
    both = replace(prepared, unlabelled=unlabelled if len(unlabelled.rows) else None)
    if both.unlabelled is not None:
        listen("stage", {"text": f"training {count} networks with {len(unlabelled.rows)} rows without a label"})
        networks[WITH] = train_members(
            both, partition, task, options=options, budget=Budget(half, (1.0,) * count), listen=listen
        )
    losses = {
        name: sum(unlearnt_loss(prepared, partition, network, target) for target in task.schema.chosen)
        for name, network in networks.items()
    }
    way = min(losses, key=lambda name: losses[name])
    listed = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    words.append(f"The model is that of {way}; log loss of labelled rows that were not learnt from: {listed}.")
    listen("note", {"text": words[1]})
    facts = {
        "rows": len(unlabelled.rows),
        "foreign": len(unlabelled.foreign),
        "ships": way,
        "log_loss": {name: round(loss, 6) for name, loss in losses.items()},
    }
    return Semi(both if way == WITH else alone, networks, losses, tuple(words), facts)


def add_other(
    comparison: Comparison, semi: Semi, prepared: Prepared, partition: Partition, asked: Asked | None
) -> Comparison:
    """The comparison with the network that does not ship among what the model is held against."""
    for name, network in semi.networks.items():
        if name == semi.way:
            continue
        fields = tuple(item.name for item in network.schema.inputs)
        scores, readouts = subset_scores(prepared, partition, fields, network)
        if asked is not None:
            rows = np.arange(asked.decoded.table.num_rows)
            raw = run_subsets(network.members, asked.decoded.packs, rows, [fields])[fields]
            scores = {target: readout.scores(raw) for target, readout in readouts.items()}
        for target, values in scores.items():
            comparison.simple[target] = {name: values, **comparison.simple.get(target, {})}
    return comparison
