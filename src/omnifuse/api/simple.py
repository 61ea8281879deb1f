"""Simple models: learnt from the rows that the networks learn from, asked for the rows that are scored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.data.decode import Decoded
from omnifuse.data.pack import Pack, stack_packs
from omnifuse.data.tables import Table
from omnifuse.evaluation import BaselineData, simple_baselines

# Of a table that is scored elsewhere so many rows are learnt from at most: they are copied beside the scored ones
MOST_LEARNT_ROWS = 20_000


@dataclass(frozen=True)
class Asked:
    """Rows of another table that are to be scored: decoded, with target to labels."""

    decoded: Decoded
    truths: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Stacked:
    """Columns of some rows of one table, then all of another."""

    first: Table
    rows: np.ndarray
    second: Table

    def cells(self, column: str, rows: np.ndarray | None = None) -> list[Any]:
        """Cells of a column; a column that the second table lacks is missing there."""
        below = self.second.num_rows
        cells = self.first.cells(column, self.rows)
        cells += self.second.cells(column) if column in self.second.columns else [None] * below
        return cells if rows is None else [cells[row] for row in rows]


def simple_scores(
    prepared: Prepared, partition: Partition, asked: Asked | None, *, seed: int, seconds: float
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Target to name to scores, and notes on what was left out.

    Args:
        prepared: The table that is learnt from.
        partition: Which of its rows are learnt from and, without `asked`, scored.
        asked: Another table whose rows are scored instead.
        seed: Of the learners.
        seconds: Time limit.
    """
    if asked is None:
        rows = partition.report
        splits = [(partition.members[0].train, rows)]
        if partition.fold is not None:
            scored = [member for member in partition.members if np.isin(member.out, rows).any()]
            splits = [(member.train, member.out) for member in scored]
        read: tuple[Any, Mapping[str, Pack], Mapping[str, np.ndarray]] = (
            prepared.table,
            prepared.packs,
            prepared.targets,
        )
        return _by_target(prepared, splits, rows, read, seed=seed, seconds=seconds)
    learnt = partition.members[0].train if partition.fold is None else partition.report
    if len(learnt) > MOST_LEARNT_ROWS:
        learnt = np.sort(np.random.default_rng(seed).choice(learnt, MOST_LEARNT_ROWS, replace=False))
    rows = len(learnt) + np.arange(asked.decoded.table.num_rows)
    read = (
        _Stacked(prepared.table, learnt, asked.decoded.table),
        {name: stack_packs(pack, learnt, asked.decoded.packs[name]) for name, pack in prepared.packs.items()},
        {name: np.concatenate([prepared.targets[name][learnt], found]) for name, found in asked.truths.items()},
    )
    return _by_target(prepared, [(np.arange(len(learnt)), rows)], rows, read, seed=seed, seconds=seconds)


def _by_target(
    prepared: Prepared,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    rows: np.ndarray,
    read: tuple[Any, Mapping[str, Pack], Mapping[str, np.ndarray]],
    *,
    seed: int,
    seconds: float,
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    table, packs, truths = read
    ends = time.monotonic() + seconds
    scores: dict[str, dict[str, np.ndarray]] = {}
    notes: list[str] = []
    for target in prepared.schema.chosen:
        data = BaselineData(table, prepared.schema, prepared.preprocessors, packs, target, truths[target.name])
        found = simple_baselines(data, splits, rows, seed=seed, seconds=ends - time.monotonic())
        scores[target.name] = found.scores
        notes += found.notes
    return scores, notes
