"""Dividing rows: stratified folds and holdouts that never divide a group and never look into the future."""

from __future__ import annotations

import numpy as np

from omnifuse.errors import InputError


def make_folds(
    num_rows: int,
    *,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Divide rows into folds of nearly equal size.

    Args:
        num_rows: R.
        labels: (R,) class codes; each class is spread evenly.
        groups: (R,) group codes; a group lies in one fold.
        times: (R,) time of each row. Folds are then consecutive blocks in time (within each group that has rows
            enough).
        num_folds: At least 2; fewer are made where there are fewer groups.
        seed: Of the division.

    Returns:
        (R,) int64 fold of each row, 0 to num_folds - 1.

    Raises:
        InputError: There is only one group.
    """
    if times is not None:
        return _time_folds(np.asarray(times), groups, num_folds)
    draw = np.random.default_rng(seed)
    if groups is not None:
        return _group_folds(np.asarray(groups), labels, num_folds, draw)
    order = draw.permutation(num_rows)
    if labels is not None:
        order = order[np.argsort(np.asarray(labels)[order], kind="stable")]
    folds = np.empty(num_rows, np.int64)
    folds[order] = np.arange(num_rows) % num_folds
    return folds


def _group_folds(
    groups: np.ndarray, labels: np.ndarray | None, num_folds: int, draw: np.random.Generator
) -> np.ndarray:
    """Largest groups first, each to the fold whose class counts stay most even."""
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise InputError("all rows belong to one group, so no group can be held out", fix="Leave --group out")
    num_folds = min(num_folds, len(names))
    classes = np.zeros(len(groups), np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    counts = np.zeros((len(names), int(classes.max()) + 1))
    np.add.at(counts, (codes, classes), 1)
    filled = np.zeros((num_folds, counts.shape[1]))
    weights = 1.0 / np.maximum(counts.sum(axis=0), 1)
    chosen = np.empty(len(names), np.int64)
    shuffled = draw.permutation(len(names))
    for group in shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]:
        after = (filled + counts[group]) * weights
        # The fold that the group fills least; total size settles ties between classes
        cost = (after**2).sum(axis=1) - ((filled * weights) ** 2).sum(axis=1) + 1e-9 * filled.sum(axis=1)
        chosen[group] = int(np.argmin(cost))
        filled[chosen[group]] += counts[group]
    # Folds that stayed empty are closed up
    return np.unique(chosen[codes], return_inverse=True)[1].astype(np.int64)


def _time_folds(times: np.ndarray, groups: np.ndarray | None, num_folds: int) -> np.ndarray:
    """Consecutive blocks in time; each group is cut by itself, groups of fewer rows than folds together."""
    folds = np.empty(len(times), np.int64)
    codes = np.zeros(len(times), np.int64)
    if groups is not None:
        _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        codes = np.where(sizes[codes] < num_folds, -1, codes)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        order = rows[np.argsort(times[rows], kind="stable")]
        folds[order] = np.arange(len(order)) * num_folds // len(order)
    return folds


def make_holdout(
    num_rows: int,
    *,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
    share: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """Hold out a share of the rows; arguments as `make_folds`.

    Returns:
        (R,) bool, True = held out. With `times`, the latest rows (of each group). With `groups`, the fold whose size
        comes nearest to the share: one large group may make the others very unlike in size.
    """
    parts = max(2, round(1 / share))
    folds = make_folds(num_rows, labels=labels, groups=groups, times=times, num_folds=parts, seed=seed)
    if times is not None:
        return np.asarray(folds == folds.max())
    return np.asarray(folds == np.abs(np.bincount(folds) - share * num_rows).argmin())
