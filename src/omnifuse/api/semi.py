"""Fits with rows without a label: a network with them beside one of the same labelled rows alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from omnifuse.api.budget import Budget
from omnifuse.api.member import Task
from omnifuse.api.members import train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.rivals import Rivals
from omnifuse.api.unlabelled import without_foreign

WITH, WITHOUT = "with unlabelled rows", "labelled rows only"


@dataclass(frozen=True)
class Semi:
    """Both networks.

    Attributes:
        prepared: The rows, without those that come from another distribution; without any unlabelled one where these
            did not help.
        rivals: `WITH` and `WITHOUT`.
        words: Sentences on the rows and on which network ships.
        facts: For the manifest.
    """

    prepared: Prepared
    rivals: Rivals
    words: tuple[str, ...]
    facts: dict[str, Any]


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
    weights = (1.0,) * len(partition.members)
    half = None if seconds is None else seconds / 2
    listen("stage", {"text": f"training {len(weights)} networks on the labelled rows alone: {partition.words}"})
    alone = replace(prepared, unlabelled=None)
    by_itself = replace(task, name=f"{task.name}-labelled")
    budget = Budget(half, weights)
    networks = {WITHOUT: train_members(alone, partition, by_itself, options=options, budget=budget, listen=listen)}
    unlabelled = without_foreign(unlabelled, partition, networks[WITHOUT])
    listen("note", {"text": unlabelled.words})
    both = replace(prepared, unlabelled=unlabelled)
    if len(unlabelled.rows):
        listen("stage", {"text": f"training {len(weights)} networks with {len(unlabelled.rows)} rows without a label"})
        budget = Budget(half, weights)
        networks[WITH] = train_members(both, partition, task, options=options, budget=budget, listen=listen)
    rivals = Rivals.measured(networks, prepared, partition)
    listen("note", {"text": rivals.words})
    facts = {"rows": len(unlabelled.rows), "foreign": len(unlabelled.foreign), **rivals.facts}
    return Semi(both if rivals.way == WITH else alone, rivals, (unlabelled.words, rivals.words), facts)
