"""`fit --curve`: the score against the number of rows that are learnt from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from omnifuse.api.budget import Budget
from omnifuse.api.member import Task
from omnifuse.api.members import Network, train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import MemberRows, Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.unseen import unseen_scores
from omnifuse.evaluation import known_rows, with_intervals
from omnifuse.schema import TaskKind

SHARES = (0.125, 0.25, 0.5)
# Fewer rows than this teach nothing that holds for more
LEAST_ROWS = 8

# Target to its points: {"rows": n, "scored": n, "metrics": {name: {"value", "low", "high"}}}, fewest rows first
Curve = dict[str, list[dict[str, Any]]]


def nested_rows(rows: np.ndarray, labels: np.ndarray | None, seed: int) -> list[np.ndarray]:
    """Subsets of rows, each inside the next; the last one is all of them.

    The smaller ones hold every class of the label as long as there is room: the first rows are one of each class.

    Args:
        rows: (R,) rows that are learnt from.
        labels: (R,) class codes, -1 = unknown; None where there are none.
        seed: Of the order.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    if labels is not None:
        _, first = np.unique(labels[order], return_index=True)
        first = first[labels[order][first] >= 0]
        order = np.concatenate([order[first], np.delete(order, first)])
    sizes = sorted({round(len(rows) * share) for share in SHARES if round(len(rows) * share) >= LEAST_ROWS})
    return [np.sort(rows[order[:size]]) for size in (*sizes, len(rows))]


def score_curve(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    network: Network,
    *,
    options: FitOptions,
    listen: Listener,
) -> Curve:
    """Train one network on each subset of the last member's rows; all are scored on the same unseen rows.

    Args:
        prepared: The table.
        partition: With folds the last member's own fold is scored, else the report rows.
        task: What the members were trained with.
        network: The trained members; the last one is the last point of the curve.
        options: Of the fit.
        listen: Hears of stages.
    """
    member = partition.members[-1]
    scored = member.out if partition.fold is not None else partition.report
    target = prepared.schema.chosen[0]
    labels = prepared.targets[target.name][member.train] if target.kind is TaskKind.CLASSIFICATION else None
    parts = nested_rows(member.train, labels, task.seed)
    listen("stage", {"text": f"training on {', '.join(str(len(part)) for part in parts[:-1])} rows, for the curve"})
    seconds = None if options.epochs else network.results[-1].seconds
    curve: Curve = {item.name: [] for item in prepared.schema.chosen}
    for number, rows in enumerate(parts):
        trained = network.members[-1]
        if len(rows) < len(member.train):
            few = MemberRows(rows, member.stop, scored)
            share = None if seconds is None else max(seconds * len(rows) / len(member.train), 1.0)
            found = train_members(
                prepared,
                replace(partition, members=(few,)),
                replace(task, name=f"{task.name}-curve-{number}"),
                options=replace(options, logger="none"),
                budget=Budget(share, (1.0,)),
                listen=listen,
            )
            trained = found.members[0]
        scores = unseen_scores(prepared, trained, learnt=rows, rows=scored, seed=task.seed)
        for item in prepared.schema.chosen:
            truth = prepared.targets[item.name][scored]
            groups = None if prepared.groups is None else prepared.groups[scored]
            curve[item.name].append(
                {
                    "rows": len(rows),
                    "scored": int(known_rows(item.kind, truth).sum()),
                    "metrics": with_intervals(
                        item.kind, truth, scores[item.name], item.classes, seed=task.seed, groups=groups
                    ),
                }
            )
    return curve
