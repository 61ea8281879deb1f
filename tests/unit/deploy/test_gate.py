"""The gate before a promotion."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.deploy.gate import LOWER_IS_BETTER, Gate
from omnifuse.errors import InputError
from omnifuse.evaluation.metrics import score
from omnifuse.schema import TaskKind


def scores(**values):
    return {"kind": values}


@pytest.mark.parametrize(
    ("gate", "value", "production", "passes"),
    [
        (Gate("accuracy", at_least=0.9), 0.9, None, True),
        (Gate("accuracy", at_least=0.9), 0.89, None, False),
        (Gate("log_loss", at_most=0.3), 0.3, None, True),
        (Gate("log_loss", at_most=0.3), 0.31, None, False),
        (Gate("accuracy", no_worse=0.01), 0.90, 0.91, True),
        (Gate("accuracy", no_worse=0.01), 0.89, 0.91, False),
        (Gate("accuracy", no_worse=0.0), 0.99, 0.91, True),
        (Gate("log_loss", no_worse=0.01), 0.32, 0.31, True),
        (Gate("log_loss", no_worse=0.01), 0.33, 0.31, False),
        (Gate("log_loss", no_worse=0.01), 0.1, 0.31, True),
        (Gate("accuracy", no_worse=0.01), 0.1, None, True),
        (Gate("accuracy", at_least=0.5, no_worse=0.01), 0.6, 0.9, False),
        (Gate("accuracy", at_least=0.95, no_worse=0.01), 0.9, 0.9, False),
    ],
)
def test_gate(gate, value, production, passes):
    given = scores(**{gate.metric: value}), None if production is None else scores(**{gate.metric: production})
    if passes:
        assert gate.judge(*given)["value"] == value
    else:
        with pytest.raises(InputError, match="is not promoted"):
            gate.judge(*given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "accuracy"}, "no limit"),
        ({"metric": "accuracy", "at_most": 0.1}, "is better where it is higher"),
        ({"metric": "log_loss", "at_least": 0.1}, "is better where it is lower"),
        ({"metric": "accuracy", "at_least": float("nan")}, "--at-least is nan"),
        ({"metric": "accuracy", "no_worse": -0.1}, "--no-worse is -0.1"),
    ],
)
def test_gates_without_sense(options, words):
    with pytest.raises(InputError, match=words):
        Gate(**options)


@pytest.mark.parametrize(
    ("gate", "found", "words"),
    [
        (Gate("acuracy", at_least=0), scores(accuracy=1.0), "did you mean 'accuracy'"),
        (Gate("accuracy", at_least=0), scores(accuracy=None), "cannot be measured"),
        (Gate("accuracy", at_least=0), scores(accuracy=float("nan")), "cannot be measured"),
        (Gate("accuracy", "knd", at_least=0), scores(accuracy=1.0), "did you mean 'kind'"),
        (Gate("accuracy", at_least=0), {**scores(accuracy=1.0), "b": {}}, "2 targets"),
    ],
)
def test_scores_that_are_not_there(gate, found, words):
    with pytest.raises(InputError, match=words):
        gate.judge(found, None)


def test_a_production_version_of_another_label_is_said():
    with pytest.raises(InputError, match="production has no target 'kind'"):
        Gate("accuracy", no_worse=0.1).judge(scores(accuracy=1.0), {"other": {"accuracy": 1.0}})


def test_the_direction_of_every_metric_that_evaluate_gives_is_known():
    rng = np.random.default_rng(0)
    truth = np.array([0, 1, 2, 0, 1, 2])
    chances = rng.dirichlet(np.ones(3), 6)
    cases = [
        (TaskKind.CLASSIFICATION, truth, np.eye(3)[truth], 1 - np.eye(3)[truth]),
        (TaskKind.ORDINAL, truth, np.eye(3)[truth], 1 - np.eye(3)[truth]),
        (TaskKind.TAGGING, np.eye(3)[truth], np.eye(3)[truth], 1 - np.eye(3)[truth]),
        (TaskKind.REGRESSION, truth.astype(float), truth.astype(float), chances[:, 0] - 9),
    ]
    names = set()
    for kind, known, right, wrong in cases:
        classes = () if kind is TaskKind.REGRESSION else ("a", "b", "c")
        good, bad = score(kind, known, right, classes), score(kind, known, wrong, classes)
        names |= set(good)
        assert {name for name in good if good[name] < bad[name]} <= LOWER_IS_BETTER
        assert {name for name in good if good[name] > bad[name]}.isdisjoint(LOWER_IS_BETTER)
    assert names >= LOWER_IS_BETTER
