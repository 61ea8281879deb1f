"""Rows without a label beside those of a fit: where they lie, and which come from another distribution.

Shapes: N rows, K labelled rows, D width of the unified representation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from omnifuse.data.decode import decode
from omnifuse.data.pack import Pack, stack_packs
from omnifuse.data.tables import Table
from omnifuse.errors import InputError
from omnifuse.evaluation.features import table_features
from omnifuse.schema import TaskKind
from omnifuse.training.predict import run_subsets

if TYPE_CHECKING:
    from omnifuse.api.members import Network
    from omnifuse.api.partition import Partition
    from omnifuse.api.prepare import Prepared

# A row is foreign where it lies farther from the labelled rows than so large a share of labelled rows that a network
# had not learnt from
LIKE_SHARE = 0.99
# Rows numbers that a note lists
MOST_LISTED = 8


@dataclass(frozen=True)
class Unlabelled:
    """Rows that are learnt from without a label.

    Attributes:
        packs: Input to decoded arrays: all rows of the fit's table, then those of another one.
        rows: (N,) numbers in `packs`.
        num_table: Rows of the fit's table.
        foreign: (F,) numbers of the rows that are left out, since they come from another distribution.
    """

    packs: dict[str, Pack]
    rows: np.ndarray
    num_table: int
    foreign: np.ndarray

    @property
    def words(self) -> str:
        """How many there are, and which are left out."""
        text = f"{len(self.rows)} rows without a label are learnt from."
        if not len(self.foreign):
            return text
        listed = ", ".join(self._name(int(row)) for row in self.foreign[:MOST_LISTED])
        more = ", ..." if len(self.foreign) > MOST_LISTED else ""
        return (
            f"{text} {len(self.foreign)} others lie farther from the labelled rows than {LIKE_SHARE:.0%} of rows like "
            f"these do, or hold numbers far beyond theirs, and are left out: {listed}{more}."
        )

    def _name(self, row: int) -> str:
        return f"row {row + 1}" if row < self.num_table else f"row {row - self.num_table + 1} of the unlabelled table"


def find_unlabelled(prepared: Prepared, extra: Table | None, *, own: bool, confined: bool) -> Unlabelled:
    """The rows without a label: those of the table where `own`, and all readable ones of another table.

    Raises:
        InputError: There are none, or a label is no class.
    """
    for target in prepared.schema.targets:
        if target.kind is not TaskKind.CLASSIFICATION:
            raise InputError(
                f"rows without a label are learnt from by classes, and '{target.name}' is {target.kind.value}",
                fix="Leave --semi and --unlabelled out, or fit the other labels by themselves",
            )
    count = prepared.table.num_rows
    packs, rows = dict(prepared.packs), np.zeros(0, np.int64)
    if own:
        empty = np.ones(count, bool)
        for target in prepared.schema.targets:
            # A class that is not known is no empty label
            empty &= np.array([cell is None for cell in prepared.table.cells(target.name)], bool)
        rows = np.flatnonzero(empty)
    if extra is not None:
        found = decode(extra, prepared.schema, prepared.preprocessors, confined=confined)
        packs = {name: stack_packs(pack, np.arange(count), found.packs[name]) for name, pack in packs.items()}
        rows = np.concatenate([rows, count + np.arange(extra.num_rows)])
    readable = np.any([pack.present for pack in packs.values()], axis=0)
    rows = rows[readable[rows]]
    if not len(rows):
        raise InputError(
            "there are no readable rows without a label",
            where="every row of the table has its label" if own and extra is None else "",
            fix="Give a table of them with --unlabelled TABLE, or leave --semi out",
        )
    return Unlabelled(packs, rows, count, rows[:0])


def without_foreign(unlabelled: Unlabelled, partition: Partition, network: Network) -> Unlabelled:
    """Leave out rows from another distribution.

    A row's distance is that of its unified representation to the nearest labelled row that the network learnt from,
    over the median of the labelled rows that it did not learn from; the mean over the networks. Numbers are looked at
    too, since encoders bound them: see `beyond`.

    References: Sun et al. 2022, Out-of-distribution Detection with Deep Nearest Neighbors.
    """
    usual, found = [], np.zeros(len(unlabelled.rows))
    for model, rows in zip(network.members, partition.members, strict=True):
        held = rows.out if len(rows.out) else partition.calibrate
        if not len(held):
            return unlabelled
        asked = np.concatenate([rows.train, held, unlabelled.rows])
        pooled = run_subsets([model], unlabelled.packs, asked, [model.fields], vectors=True)[model.fields].pooled
        assert pooled is not None
        vectors = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        learnt, rest = vectors[: len(rows.train)], vectors[len(rows.train) :]
        distances = nearest(rest, learnt)
        middle = max(float(np.median(distances[: len(held)])), 1e-9)
        usual.append(distances[: len(held)] / middle)
        found += distances[len(held) :] / middle / len(network.members)
    limit = float(np.quantile(np.concatenate(usual), LIKE_SHARE))
    labelled = np.unique(np.concatenate([np.concatenate([rows.train, rows.out]) for rows in partition.members]))
    foreign = found > limit
    for pack in unlabelled.packs.values():
        if "numbers" in pack.arrays:
            foreign |= beyond(table_features(pack)[0], labelled, unlabelled.rows)
    return replace(unlabelled, rows=unlabelled.rows[~foreign], foreign=unlabelled.rows[foreign])


def beyond(numbers: np.ndarray, labelled: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows with a number farther outside the range of the labelled rows' than half of its length.

    Args:
        numbers: (R, C) of all rows, NaN where missing.
        labelled: Numbers of the labelled rows.
        rows: (N,) numbers of the rows that are asked about.

    Example:
        >>> beyond(np.array([[0.0], [1.0], [1.4], [1.6], [np.nan]]), np.array([0, 1]), np.array([2, 3, 4])).tolist()
        [False, True, False]
    """
    known = numbers[labelled]
    known = known[:, ~np.isnan(known).all(axis=0)]
    asked = numbers[rows][:, ~np.isnan(numbers[labelled]).all(axis=0)]
    low, high = np.nanmin(known, axis=0), np.nanmax(known, axis=0)
    outside = np.fmax(low - asked, asked - high)
    return np.asarray((outside > np.maximum((high - low) / 2, 1e-9)).any(axis=1))


def nearest(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) distance of each of N vectors to the nearest of K unit vectors.

    Example:
        >>> nearest(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])).tolist()
        [0.0]
    """
    best = np.empty(len(vectors))
    for begin in range(0, len(vectors), 1024):
        part = vectors[begin : begin + 1024]
        best[begin : begin + 1024] = np.sqrt(np.maximum(2 - 2 * (part @ others.T).max(axis=1), 0.0))
    return best
