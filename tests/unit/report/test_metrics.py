"""Which metrics lead."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.report.metrics import leading_metrics, main_metric, metric_words, value_words

RANKED = ("roc_auc", "balanced_accuracy")


def result_of(task="classification", **values):
    return {"task": task, "metrics": {name: {"value": value} for name, value in values.items()}}


@pytest.mark.parametrize(
    ("counts", "auc", "leading"),
    [
        ((34, 66), 0.8, RANKED),
        ((66, 34), 0.8, RANKED),
        ((35, 65), 0.8, ("accuracy",)),
        ((10, 90), None, ("accuracy",)),
        ((5, 5, 90), 0.8, ("accuracy",)),
        ((0, 0), 0.8, ("accuracy",)),
        (None, 0.8, ("accuracy",)),
    ],
)
def test_two_uneven_classes_lead_with_the_ranking(counts, auc, leading):
    result = result_of(accuracy=0.9, balanced_accuracy=0.7, roc_auc=auc)
    assert leading_metrics(result, None if counts is None else np.array(counts)) == leading


def test_other_tasks_lead_with_their_main_metric():
    assert leading_metrics(result_of("regression", r2=0.5, mean_absolute_error=1.0), None) == ("r2",)
    assert main_metric("tagging", {"other": 1}) == "other"


def test_names_and_values_as_they_are_read():
    assert [metric_words(name) for name in (*RANKED, "r2")] == ["ROC AUC", "balanced accuracy", "r2"]
    assert [value_words(name, 0.25) for name in (*RANKED, "r2")] == ["0.250", "25.0%", "0.250"]
