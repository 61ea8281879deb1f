"""Which rows do what: fold members below 5,000 rows and for given folds, separate cuts above and with times."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from omnifuse.api.options import SMALL_TABLE_ROWS
from omnifuse.data.splits import make_folds, make_holdout

NUM_FOLDS = 5


@dataclass(frozen=True)
class MemberRows:
    """Rows of one member: it learns from `train`, stops by `stop` (may be empty), and answers `out`."""

    train: np.ndarray
    stop: np.ndarray
    out: np.ndarray


@dataclass(frozen=True)
class Partition:
    """Rows by role.

    Attributes:
        members: One entry a network.
        calibrate: Rows whose answers fit weights, temperatures and thresholds.
        report: Rows whose answers make the published figures.
        fold: (R,) fold of each row in fold mode, else None.
        in_time: Whether each fold is a stretch of time.
        words: The sentence that the report prints.
    """

    members: tuple[MemberRows, ...]
    calibrate: np.ndarray
    report: np.ndarray
    fold: np.ndarray | None
    words: str
    in_time: bool = False

    @property
    def places(self) -> np.ndarray:
        """Places of the report rows among the calibration rows; with folds the first are a part of the second."""
        return np.searchsorted(self.calibrate, self.report)

    def narrowed(self) -> Partition:
        """The same with the last fold alone in the report: the rows of the other folds were seen by a search."""
        if self.fold is None:
            return self
        report = self.members[-1].out
        words = f"the {len(report)} rows of one fold, which the search for settings did not see ({self.words})"
        return replace(self, report=report, words=words)

    def stretches(self, rows: np.ndarray) -> np.ndarray | None:
        """Codes of the stretches of time that rows lie in, None where rows stand for themselves."""
        return self.fold[rows] if self.in_time and self.fold is not None else None


def _pick(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]


def partition(
    rows: np.ndarray,
    *,
    labels: np.ndarray | None,
    groups: np.ndarray | None,
    folds: np.ndarray | None = None,
    times: np.ndarray | None,
    num_members: int,
    seed: int,
) -> Partition:
    """Divide the learnable rows.

    Args:
        rows: Row numbers that may be used.
        labels: (R,) class codes of all table rows to stratify by, or None.
        groups: (R,) group codes; a group is never divided.
        folds: (R,) fold of each row where these are given; any number of rows is then folded.
        times: (R,) time ranks; later rows are held out.
        num_members: Networks trained on the same rows above 5,000 rows.
        seed: Of the division.

    Returns:
        Row numbers of the table for each role.
    """
    label, group, time = _pick(labels, rows), _pick(groups, rows), _pick(times, rows)
    nothing = np.zeros(0, np.int64)
    # In time order no row may be answered by a network that learnt from later ones, so there are no folds
    if folds is not None or (len(rows) < SMALL_TABLE_ROWS and times is None):
        if folds is None:
            of_rows = make_folds(len(rows), labels=label, groups=group, num_folds=NUM_FOLDS, seed=seed)
            how = "whole groups" if groups is not None else "stratified"
        else:
            of_rows, how = folds[rows], "consecutive in time"
        fold = np.full(int(rows.max()) + 1, -1)
        fold[rows] = of_rows
        used = [number for number in np.unique(of_rows) if number >= 0]
        members = tuple(MemberRows(rows[of_rows != number], nothing, rows[of_rows == number]) for number in used)
        words = f"{len(used)}-fold out-of-fold answers of {len(rows)} rows ({how})"
        answered = rows[of_rows >= 0]
        return Partition(members, answered, answered, fold, words, in_time=folds is not None)
    report = make_holdout(len(rows), labels=label, groups=group, times=time, share=0.15, seed=seed)
    rest = np.flatnonzero(~report)
    held = make_holdout(
        len(rest),
        labels=_pick(label, rest),
        groups=_pick(group, rest),
        times=_pick(time, rest),
        share=0.15,
        seed=seed + 1,
    )
    train, held_rows = rest[~held], rest[held]
    half = np.random.default_rng(seed).permutation(len(held_rows))
    stop, calibrate = held_rows[half[::2]], held_rows[half[1::2]]
    members = tuple(MemberRows(rows[train], rows[np.sort(stop)], nothing) for _ in range(num_members))
    words = (
        f"{int(report.sum())} rows held out for the report, {len(calibrate)} for calibration, "
        f"{len(stop)} for stopping, {len(train)} for learning"
    )
    return Partition(members, rows[np.sort(calibrate)], rows[report], None, words)
