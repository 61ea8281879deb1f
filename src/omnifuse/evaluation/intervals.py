"""How sure a score is: bootstrap intervals, and a paired test of two answers to the same rows.

References: Efron and Tibshirani 1993, An Introduction to the Bootstrap (percentile interval); Good 2005, Permutation,
Parametric and Bootstrap Tests of Hypotheses (swapping the members of pairs).

Shapes: R rows, U units that are drawn (rows, or whole groups), S resamples, K sums a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from omnifuse.evaluation.metrics import MAIN_METRIC, Measure, known_rows, measure_of, quadratic_kappa, row_log_loss
from omnifuse.schema import TaskKind

# A chunk of resamples stays within the cache; with many rows fewer resamples say the same
CHUNK_CELLS = 1_000_000
MOST_CELLS = 20_000_000
FEWEST_RESAMPLES = 200
NUM_SWAPS = 10_000


class Interval(TypedDict):
    """A score and its 95% interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


class PairedDifference(TypedDict):
    """By how much the first answers are better than the second, its 95% interval and two-sided p."""

    metric: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


def _num_resamples(wanted: int, num_rows: int) -> int:
    return min(wanted, max(FEWEST_RESAMPLES, MOST_CELLS // num_rows))


def _unit_codes(groups: np.ndarray | None, known: np.ndarray) -> tuple[np.ndarray, int]:
    """(R,) number of the unit of each known row, and U."""
    count = int(known.sum())
    if groups is None:
        return np.arange(count), count
    codes = np.unique(groups[known], return_inverse=True)[1]
    return codes, int(codes.max()) + 1 if count else 0


def _draws(num_units: int, num_rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn: chunks (U, s) of S resamples in all."""
    random = np.random.default_rng(seed)
    left = _num_resamples(resamples, num_rows)
    while left:
        width = min(left, max(1, CHUNK_CELLS // num_rows))
        drawn = random.integers(0, num_units, (num_units, width), dtype=np.int64) * width + np.arange(width)
        yield np.bincount(drawn.ravel(), minlength=num_units * width).reshape(num_units, width).astype(np.float64)
        left -= width


def _bounds(values: np.ndarray, value: float) -> tuple[float | None, float | None]:
    """Percentiles 2.5 and 97.5, widened to hold the value; nothing where most resamples are not defined."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values) or not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return min(float(low), value), max(float(high), value)


def with_intervals(
    kind: TaskKind,
    truth: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 1000,
    groups: np.ndarray | None = None,
    chosen: np.ndarray | None = None,
) -> dict[str, Interval]:
    """Score answers, with percentile bootstrap intervals.

    Args:
        kind: As for `score`.
        truth: As for `score`.
        scores: As for `score`.
        classes: As for `score`.
        seed: Of the resamples.
        resamples: Their number; above 20,000 rows fewer are drawn, at least 200.
        groups: (R,) codes; whole groups are drawn where given, since rows of a group are not independent.
        chosen: As for `score`.

    Returns:
        Metric name to value and 95% interval; None where not defined, and no interval with fewer than two units.
    """
    measure, known = measure_of(kind, truth, scores, classes, chosen=chosen), known_rows(kind, truth)
    return bootstrapped(measure, known, seed=seed, resamples=resamples, groups=groups)


def bootstrapped(
    measure: Measure, known: np.ndarray, *, seed: int = 0, resamples: int = 1000, groups: np.ndarray | None = None
) -> dict[str, Interval]:
    """Values of a measure and their percentile bootstrap intervals.

    Args:
        measure: Of weights (K, S) of the K known rows.
        known: (R,) bool.
        seed: As for `with_intervals`.
        resamples: As for `with_intervals`.
        groups: As for `with_intervals`.
    """
    units, num_units = _unit_codes(groups, known)
    values = {name: float(value[0]) for name, value in measure(np.ones((len(units), 1))).items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    if num_units > 1:
        for counts in _draws(num_units, len(units), resamples, seed):
            for name, found in measure(counts if groups is None else counts[units]).items():
                drawn[name].append(found)
    result: dict[str, Interval] = {}
    for name, value in values.items():
        if np.isnan(value):
            result[name] = {"value": None, "low": None, "high": None}
            continue
        low, high = _bounds(np.concatenate(drawn[name]), value) if drawn[name] else (None, None)
        result[name] = {"value": value, "low": low, "high": high}
    return result


@dataclass(frozen=True)
class _Pair:
    """A metric as a function of sums over rows, so that resampling and swapping are matrix products.

    Attributes:
        first: (R, K) what the first answers add.
        second: (R, K) what the second answers add.
        shared: (R, L) what the labels add.
        value: Sums (K, S) and (L, S) to the metric (S,), higher is better.
    """

    first: np.ndarray
    second: np.ndarray
    shared: np.ndarray
    value: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def by_unit(self, units: np.ndarray, num_units: int) -> _Pair:
        """The same with the rows of each unit added up."""

        def added(rows: np.ndarray) -> np.ndarray:
            return np.stack([np.bincount(units, weights=column, minlength=num_units) for column in rows.T], axis=1)

        return _Pair(added(self.first), added(self.second), added(self.shared), self.value)


def _mean(sums: np.ndarray, shared: np.ndarray) -> np.ndarray:
    return np.asarray(sums[0] / np.maximum(shared[0], 1))


def _f1(sums: np.ndarray, shared: np.ndarray) -> np.ndarray:
    both = sums[1] + shared[0]
    return np.where(both > 0, 2 * sums[0] / np.maximum(both, 1), 0.0)


def _r2(sums: np.ndarray, shared: np.ndarray) -> np.ndarray:
    spread = shared[2] - shared[1] ** 2 / np.maximum(shared[0], 1)
    good = spread > 1e-12 * shared[2]
    return np.where(good, 1 - sums[0] / np.where(good, spread, 1.0), np.nan)


def _kappa(sums: np.ndarray, shared: np.ndarray) -> np.ndarray:
    return quadratic_kappa(sums[0], sums[1] + shared[2], sums[2] * shared[1], shared[0])


def _level_sums(label: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(R, 3) squared distance in levels, squared answer, answer."""
    answer = probabilities.argmax(axis=1).astype(np.float64)
    return np.stack([(answer - label) ** 2, answer**2, answer], axis=1)


def _pair(metric: str, label: np.ndarray, first: np.ndarray, second: np.ndarray) -> _Pair:
    ones = np.ones((len(label), 1))
    if metric == "accuracy":
        return _Pair(_hits(label, first), _hits(label, second), ones, _mean)
    if metric == "quadratic_weighted_kappa":
        level = np.asarray(label, np.float64)[:, None]
        shared = np.concatenate([ones, level, level**2], axis=1)
        return _Pair(_level_sums(label, first), _level_sums(label, second), shared, _kappa)
    if metric == "log_loss":
        return _Pair(-row_log_loss(label, first)[:, None], -row_log_loss(label, second)[:, None], ones, _mean)
    if metric == "r2":
        centred = (label - label.mean())[:, None]
        shared = np.concatenate([ones, centred, centred**2], axis=1)
        return _Pair((first - label)[:, None] ** 2, (second - label)[:, None] ** 2, shared, _r2)
    true = label > 0.5
    return _Pair(_tag_hits(true, first), _tag_hits(true, second), 1.0 * true.sum(axis=1, keepdims=True), _f1)


def _hits(label: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.asarray(probabilities.argmax(axis=1) == label, np.float64)[:, None]


def _tag_hits(true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(R, 2) number of right tags and of given tags."""
    given = probabilities >= 0.5
    return np.stack([(true & given).sum(axis=1), given.sum(axis=1)], axis=1).astype(np.float64)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Probabilities of several tests corrected for their number; None stays None.

    Args:
        ps: Of each test, 0 to 1.

    References: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    Example:
        >>> holm([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]
    """
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[place] = highest
    return corrected


def paired_test(
    kind: TaskKind,
    truth: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    *,
    metric: str | None = None,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> PairedDifference:
    """Compare two answers to the same rows.

    Args:
        kind: As for `score`.
        truth: As for `score`.
        scores_a: Answers that may be better, as for `score`.
        scores_b: Answers that they are held against.
        metric: "accuracy" (default) or "log_loss" for classification; tagging is compared by "f1_micro", regression by
            "r2", whose difference is that of the squared errors in units of the label's variance, levels by
            "quadratic_weighted_kappa".
        seed: Of swaps and resamples.
        groups: (R,) codes; whole groups are swapped and drawn where given.

    Returns:
        The difference (positive = A is better, for log loss too), its 95% bootstrap interval, and the two-sided p of
        10,000 random swaps of A and B within rows: the share of swaps (the real one counted) with a difference at least
        as large. All None without rows, or where the metric is not defined.
    """
    name = metric or MAIN_METRIC[kind]
    allowed = ("accuracy", "log_loss") if kind is TaskKind.CLASSIFICATION else (MAIN_METRIC[kind],)
    assert name in allowed, f"{name} is no paired metric of {kind}: {allowed}"
    known = known_rows(kind, truth)
    nothing: PairedDifference = {"metric": name, "difference": None, "low": None, "high": None, "p": None}
    if not known.any():
        return nothing
    units, num_units = _unit_codes(groups, known)
    rows = _pair(name, truth[known], np.asarray(scores_a, np.float64)[known], np.asarray(scores_b, np.float64)[known])
    pair = rows.by_unit(units, num_units)
    difference = float(_differences(pair, np.ones((num_units, 1)))[0])
    if np.isnan(difference):
        return nothing
    low, high = None, None
    if num_units > 1:
        drawn = [_differences(pair, counts) for counts in _draws(num_units, num_units, 1000, seed)]
        low, high = _bounds(np.concatenate(drawn), difference)
    return {"metric": name, "difference": difference, "low": low, "high": high, "p": _swap_p(pair, difference, seed)}


def _differences(pair: _Pair, counts: np.ndarray) -> np.ndarray:
    shared = pair.shared.T @ counts
    return np.asarray(pair.value(pair.first.T @ counts, shared) - pair.value(pair.second.T @ counts, shared))


def _swap_p(pair: _Pair, difference: float, seed: int) -> float:
    """Share of random swaps with a difference at least as large; units on which A and B agree need no swap."""
    change = pair.second - pair.first
    change = change[(change != 0).any(axis=1)]
    if not len(change):
        return 1.0
    random = np.random.default_rng(seed)
    first, second = pair.first.sum(axis=0)[:, None], pair.second.sum(axis=0)[:, None]
    shared = pair.shared.sum(axis=0)[:, None]
    total = left = max(1000, min(NUM_SWAPS, 5 * MOST_CELLS // len(change)))
    extreme = 0
    while left:
        width = min(left, max(1, CHUNK_CELLS // len(change)))
        moved = change.T @ random.integers(0, 2, (len(change), width), dtype=np.int8).astype(np.float64)
        found = pair.value(first + moved, shared) - pair.value(second - moved, shared)
        # Equal differences must count as equal in spite of rounding
        extreme += int((np.abs(found) >= abs(difference) * (1 - 1e-9) - 1e-15).sum())
        left -= width
    return (1 + extreme) / (1 + total)
