"""Scores of texts that were written, with intervals. Shapes: R rows, K known rows, S weightings of them.

Each measure is a function of weights, as in `evaluation.metrics`, so that a ratio of sums over rows (errors over words,
say) gets its interval like any other score. `MEASURES` is the one place where measures of a task are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from omnifuse.evaluation.intervals import Interval, bootstrapped
from omnifuse.evaluation.metrics import Measure
from omnifuse.schema import TaskKind

# Truths and answers of K rows to the scores as a function of weights (K, S)
TextMeasure = Callable[[Sequence[str], Sequence[str]], Measure]


def exact_match(truths: Sequence[str], answers: Sequence[str]) -> Measure:
    """The share of texts that are the truth to the letter."""
    same = np.array([truth == answer for truth, answer in zip(truths, answers, strict=True)], np.float64)

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=0)
        return {"exact_match": np.where(total > 0, same @ weights / np.maximum(total, 1e-12), np.nan)}

    return measure


# Of each task, the measures of its texts; the first score of the first one leads
MEASURES: dict[TaskKind, tuple[TextMeasure, ...]] = {
    TaskKind.CAPTIONING: (exact_match,),
    TaskKind.TRANSCRIPTION: (exact_match,),
    TaskKind.ANSWERING: (exact_match,),
}


def written_scores(
    kind: TaskKind,
    truths: Sequence[str | None],
    answers: Sequence[str],
    *,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, Interval]:
    """Score texts.

    Args:
        kind: A task that writes.
        truths: R texts, None where missing.
        answers: R texts.
        seed: Of the bootstrap.
        groups: (R,) codes of groups that are drawn whole.

    Returns:
        Metric to its value and 95% interval.

    Example:
        >>> found = written_scores(TaskKind.CAPTIONING, ["a cat", None, "a dog"], ["a cat", "", "a cat"])
        >>> found["exact_match"]["value"]
        0.5
    """
    known = np.array([truth is not None for truth in truths], bool)
    given = [truth for truth in truths if truth is not None]
    written = [answer for answer, there in zip(answers, known, strict=True) if there]
    found: dict[str, Interval] = {}
    for part in MEASURES[kind]:
        found |= bootstrapped(part(given, written), known, seed=seed, groups=groups)
    return found
