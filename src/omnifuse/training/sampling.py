"""Which rows an epoch holds where classes are uneven. Shapes: R rows, C classes or tags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omnifuse.schema import TaskKind

# How a row's weight falls with the number of rows of its class
POWERS = {"natural": 0.0, "sqrt": 0.5, "balanced": 1.0}


def label_weights(kind: TaskKind, labels: np.ndarray, power: float) -> np.ndarray:
    """(R,) weights of rows by one label, mean 1.

    A class of n rows weighs n to the power of minus `power`. A row with several tags weighs as its rarest one; rows
    without a tag are a class of their own. Rows without a label weigh 1.

    Args:
        kind: Classes, levels or tags; any other gives ones.
        labels: (R,) codes, -1 = unknown, or (R, C) 0 or 1, NaN = unknown.
        power: 0 each row alike, 1 every class alike.

    References: Mahajan et al. 2018, Exploring the Limits of Weakly Supervised Pretraining, section 2.2 (the square
    root); Gupta et al. 2019, LVIS, appendix B (the rarest of several).
    """
    weights = np.ones(len(labels))
    if kind.chooses_class:
        known = labels >= 0
        counts = np.bincount(labels[known], minlength=1)
        weights[known] = np.maximum(counts, 1)[labels[known]] ** -power
    elif kind is TaskKind.TAGGING:
        known = ~np.isnan(labels).any(axis=1)
        tagged = labels[known] > 0.5
        tagged = np.concatenate([tagged, ~tagged.any(axis=1, keepdims=True)], axis=1)
        rarity = np.maximum(tagged.sum(axis=0), 1) ** -power
        weights[known] = np.where(tagged, rarity, 0.0).max(axis=1)
    else:
        return weights
    if known.any():
        weights[known] /= weights[known].mean()
    return weights


def row_weights(labels: Sequence[tuple[TaskKind, np.ndarray]], sampling: str) -> np.ndarray | None:
    """(R,) how often each row is drawn, mean 1; None where each is drawn once.

    With several labels a row's weight is the mean over those that have classes.

    Args:
        labels: Kind and encoded cells of the rows that are learnt from, one pair a target.
        sampling: "natural", "balanced" or "sqrt".
    """
    power = POWERS[sampling]
    found = [
        label_weights(kind, values, power) for kind, values in labels if kind.chooses_class or kind is TaskKind.TAGGING
    ]
    if not power or not found:
        return None
    weights = np.asarray(np.mean(found, axis=0))
    return np.asarray(weights / weights.mean())


def draw_rows(rows: np.ndarray, weights: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """As many rows as there are, in random order: each its weight times, rounded up or down at random.

    Systematic sampling: a comb of equal steps over the rows laid end to end by weight. A class is drawn as often as it
    should be in every epoch, not only on average.

    Args:
        rows: (R,) row numbers.
        weights: (R,) mean 1.
        draw: Randomness.
    """
    order = draw.permutation(len(rows))
    ends = np.cumsum(weights[order])
    comb = (np.arange(len(rows)) + draw.random()) * (ends[-1] / len(rows))
    chosen = order[np.minimum(np.searchsorted(ends, comb, side="right"), len(rows) - 1)]
    return draw.permutation(rows[chosen])
