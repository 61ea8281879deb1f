"""Which metrics a page leads with, and how they and their values are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omnifuse.evaluation import MAIN_METRIC
from omnifuse.schema import TaskKind

# With the smaller of two classes below this share, always giving the larger one already looks accurate
UNEVEN_SHARE = 0.35
_SHARES = ("accuracy", "balanced_accuracy", "f1_micro", "exact_match", "word_error_rate", "character_error_rate")
_NAMES = {"roc_auc": "ROC AUC", "bleu_4": "BLEU-4", "rouge_l": "ROUGE-L", "cider_d": "CIDEr-D"}


def main_metric(task: str, metrics: Mapping[str, Any]) -> str:
    """The metric that bars are drawn of: the task's usual one, or the first there is."""
    wanted = MAIN_METRIC[TaskKind(task)]
    return wanted if wanted in metrics else next(iter(metrics))


def leading_metrics(result: Mapping[str, Any], counts: np.ndarray | None) -> tuple[str, ...]:
    """The metrics that are named first: ROC AUC and balanced accuracy for two uneven classes, else the main metric.

    Args:
        result: The target's entry of the evaluation.
        counts: (C,) scored rows of each class; None where there are no classes.
    """
    metrics = result["metrics"]
    wanted = ("roc_auc", "balanced_accuracy")
    uneven = counts is not None and len(counts) == 2 and counts.min() < UNEVEN_SHARE * counts.sum()
    if uneven and all(metrics.get(name, {}).get("value") is not None for name in wanted):
        return wanted
    return (main_metric(result["task"], metrics),)


def is_simple(baseline: str) -> bool:
    """Whether a baseline is a simple model, not the network of a single field.

    Example:
        >>> is_simple("note: tf-idf + linear"), is_simple("note")
        (True, False)
    """
    return ":" in baseline or baseline == "majority"


def metric_words(metric: str) -> str:
    """A metric's name as it is read.

    Example:
        >>> metric_words("balanced_accuracy"), metric_words("roc_auc")
        ('balanced accuracy', 'ROC AUC')
    """
    return _NAMES.get(metric, metric.replace("_", " "))


def value_words(metric: str, value: float) -> str:
    """A value as it is read: shares in percent.

    Example:
        >>> value_words("accuracy", 0.5), value_words("roc_auc", 0.5)
        ('50.0%', '0.500')
    """
    return f"{value:.1%}" if metric in _SHARES else f"{value:.3f}"
