"""How well labels are told by the plainest rules: a table from value to label, bins, and the nearest number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def codes_of(keys: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Numbers of the texts in the order of their first occurrence, and the different texts."""
    known: dict[str, int] = {}
    codes = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
    return codes, list(known)


def looked_up(codes: np.ndarray, labels: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Which rows a table "value -> most frequent label" of the other half gets right."""
    right = np.zeros(len(codes), dtype=bool)
    count = int(labels.max()) + 1
    for part in (0, 1):
        learn, check = half != part, half == part
        if not learn.any() or not check.any():
            continue
        # A value that the other half lacks gets the most frequent label
        best = np.full(int(codes.max()) + 1, int(np.bincount(labels[learn]).argmax()))
        pairs, times = np.unique(codes[learn] * count + labels[learn], return_counts=True)
        pairs = pairs[np.argsort(times, kind="stable")]
        best[pairs // count] = pairs % count
        right[check] = best[codes[check]] == labels[check]
    return right


def left_out(codes: np.ndarray, labels: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows the other units' most frequent label for the same value gets right, and which have such units.

    Every unit (group, or row where there are no groups) counts once for a value and label; a tie is wrong.
    """
    num_labels, num_units = int(labels.max()) + 1, int(units.max()) + 1
    pairs = codes * num_labels + labels
    distinct = np.unique(pairs * num_units + units) // num_units
    names, votes = np.unique(distinct, return_counts=True)
    order = np.lexsort((-votes, names // num_labels))
    values, first = np.unique(names[order] // num_labels, return_index=True)
    best, total = votes[order][first], np.bincount(names // num_labels, weights=votes)
    # The runner-up stands next, unless that is another value's
    after = np.minimum(first + 1, len(order) - 1)
    is_second = (first + 1 < len(order)) & (names[order][after] // num_labels == values)
    second = np.where(is_second, votes[order][after], 0)
    own = votes[np.searchsorted(names, pairs)] - 1
    place = np.searchsorted(values, codes)
    is_best = names[order][first][place] == pairs
    # A tie for the first place leaves the tied label as the rival
    rival = np.where(is_best, second[place], best[place])
    return own > rival, total[codes] > 1


def bins_of(numbers: np.ndarray) -> np.ndarray:
    """Number of the quantile bin of each number: about 10 rows a bin, 2 to 64 bins."""
    count = int(np.clip(len(numbers) // 10, 2, 64))
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, count + 1)[1:-1]))
    return np.searchsorted(edges, numbers)


def nearest_right(numbers: np.ndarray, labels: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Which rows get the label of the nearest number of the other half: finds thresholds and bands of any width."""
    right = np.zeros(len(numbers), dtype=bool)
    for part in (0, 1):
        learn, check = np.flatnonzero(half != part), np.flatnonzero(half == part)
        if not len(learn) or not len(check):
            continue
        learn = learn[np.argsort(numbers[learn], kind="stable")]
        after = np.clip(np.searchsorted(numbers[learn], numbers[check]), 1, max(len(learn) - 1, 1))
        after = np.minimum(after, len(learn) - 1)
        before = np.maximum(after - 1, 0)
        is_before = numbers[check] - numbers[learn[before]] <= numbers[learn[after]] - numbers[check]
        nearest = np.where(is_before, learn[before], learn[after])
        right[check] = labels[nearest] == labels[check]
    return right
