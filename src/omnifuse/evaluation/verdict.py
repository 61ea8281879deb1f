"""Did reading all fields together help? A paired test of the whole model against the best single-field network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from omnifuse.evaluation.intervals import Interval, paired_test
from omnifuse.evaluation.metrics import MAIN_METRIC, known_rows
from omnifuse.schema import TaskKind

HELPED, DID_NOT_HELP, CANNOT_TELL = "helped", "did not help", "cannot tell"
ENOUGH_ROWS = 200
# With fewer rows only a clear result counts
LEVEL, STRICT_LEVEL = 0.05, 0.01


class FusionVerdict(TypedDict):
    """The verdict, its p, the single field it was held against, and the difference (positive = the whole is better)."""

    verdict: str
    p: float | None
    against: str
    metric: str
    difference: Interval
    rows: int


def fusion_verdict(
    kind: TaskKind,
    truth: np.ndarray,
    whole: np.ndarray,
    singles: Mapping[str, np.ndarray],
    *,
    metric: str | None = None,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> FusionVerdict | None:
    """Say whether fusion helped.

    "helped": the whole model is better than the best single field, p < .05 (p < .01 below 200 rows). "did not help": it
    is worse at the same level, or there are 200 rows and more and p >= .05. "cannot tell": fewer than 200 rows and
    p >= .01, or a metric that is not defined. The best single field is chosen on these very rows, which favours it.

    Args:
        kind: As for `score`.
        truth: As for `score`; out-of-fold or report rows, which no compared network has learnt from.
        whole: Answers of the whole model, as for `score`.
        singles: Field name to answers of the network that was trained on this field alone.
        metric: As for `paired_test`.
        seed: Of the test.
        groups: (R,) codes, as for `paired_test`.

    Returns:
        The verdict, or None with fewer than two single fields.
    """
    if len(singles) < 2:
        return None
    tests = {
        name: paired_test(kind, truth, whole, scores, metric=metric, seed=seed, groups=groups)
        for name, scores in singles.items()
    }
    # The best single field is the one that the whole model beats by least
    against = min(tests, key=lambda name: _or_infinity(tests[name]["difference"]))
    test = tests[against]
    rows = int(known_rows(kind, truth).sum())
    return {
        "verdict": verdict_of(test["difference"], test["p"], rows),
        "p": test["p"],
        "against": against,
        "metric": metric or MAIN_METRIC[kind],
        "difference": {"value": test["difference"], "low": test["low"], "high": test["high"]},
        "rows": rows,
    }


def _or_infinity(value: float | None) -> float:
    return float("inf") if value is None else value


def verdict_of(difference: float | None, p: float | None, rows: int) -> str:
    """The verdict on a difference (positive = fusion is better), by the rule of `fusion_verdict`.

    Example:
        >>> verdict_of(0.05, 0.02, 1000), verdict_of(0.05, 0.02, 100), verdict_of(0.001, 0.6, 1000)
        ('helped', 'cannot tell', 'did not help')
    """
    if difference is None or p is None:
        return CANNOT_TELL
    enough = rows >= ENOUGH_ROWS
    if p < (LEVEL if enough else STRICT_LEVEL):
        return HELPED if difference > 0 else DID_NOT_HELP
    return DID_NOT_HELP if enough else CANNOT_TELL
