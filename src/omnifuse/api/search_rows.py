"""Which rows the trials of a search learn from and are scored on: never those that the report scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from omnifuse.api.partition import MemberRows, Partition, partition
from omnifuse.api.prepare import Prepared
from omnifuse.schema import TaskKind

# A trial has so many networks, each learns from at most so many rows and is scored on at most so many
NUM_MEMBERS, LEARNT_ROWS, SCORED_ROWS = 2, 2000, 1000


def search_rows(prepared: Prepared, parts: Partition, *, seed: int, scored_elsewhere: bool) -> tuple[MemberRows, ...]:
    """Rows of each network of a trial.

    With folds the report is narrowed to one of them (`Partition.narrowed`), and the others are folded anew; with
    separate cuts trials are scored on the stopping rows.

    Args:
        prepared: The table.
        parts: The division of the fit.
        seed: Of the division and of the rows that are left out where there are many.
        scored_elsewhere: Whether another table is scored, so that every row of this one may be seen.
    """
    if parts.fold is None:
        members: Sequence[MemberRows] = [
            MemberRows(item.train, item.stop[:0], item.stop) for item in parts.members[:NUM_MEMBERS]
        ]
    else:
        rows = prepared.rows if scored_elsewhere else parts.members[-1].train
        target = prepared.schema.chosen[0]
        labels = prepared.targets[target.name] if target.kind is TaskKind.CLASSIFICATION else None
        members = partition(
            rows, labels=labels, groups=prepared.groups, folds=prepared.folds, times=None, num_members=1, seed=seed + 1
        ).members[-NUM_MEMBERS:]
    return tuple(
        replace(item, train=_some(item.train, LEARNT_ROWS, seed), out=_some(item.out, SCORED_ROWS, seed))
        for item in members
    )


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
