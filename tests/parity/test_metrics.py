"""Our vectorised metrics against scikit-learn, whole and on resamples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from omnifuse.evaluation.metrics import measure_of, score
from omnifuse.evaluation.reliability import risk_coverage_area
from omnifuse.schema import TaskKind

NAMES = ("a", "b", "c", "d", "e")


def classification_case(seed, num_classes, rows=200, *, ties=False):
    random = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(num_classes), random.integers(0, num_classes, rows - num_classes)])
    logits = random.normal(size=(rows, num_classes)) + 1.5 * np.eye(num_classes)[truth]
    if ties:
        logits = logits.round()
    scores = np.exp(logits)
    return truth, scores / scores.sum(axis=1, keepdims=True)


def of_sklearn(truth, scores):
    predicted = scores.argmax(axis=1)
    num_classes = scores.shape[1]
    area = (
        reference.roc_auc_score(truth, scores[:, 1])
        if num_classes == 2
        else reference.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    )
    return {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        "f1_macro": reference.f1_score(truth, predicted, average="macro"),
        "f1_weighted": reference.f1_score(truth, predicted, average="weighted"),
        "log_loss": reference.log_loss(truth, scores, labels=range(num_classes)),
        "roc_auc": area,
    }


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("ties", [False, True])
def test_classification_equals_sklearn(num_classes, ties):
    truth, scores = classification_case(num_classes, num_classes, ties=ties)
    ours = score(TaskKind.CLASSIFICATION, truth, scores, NAMES[:num_classes])
    assert ours == pytest.approx(of_sklearn(truth, scores), abs=1e-12)


def test_unknown_rows_are_left_out():
    truth, scores = classification_case(1, 3)
    hidden = truth.copy()
    hidden[::3] = -1
    keep = hidden >= 0
    assert score(TaskKind.CLASSIFICATION, hidden, scores, NAMES[:3]) == pytest.approx(
        of_sklearn(truth[keep], scores[keep]), abs=1e-12
    )


@pytest.mark.parametrize("num_classes", [2, 4])
def test_weights_equal_repeated_rows(num_classes):
    truth, scores = classification_case(3, num_classes, ties=True)
    measure = measure_of(TaskKind.CLASSIFICATION, truth, scores, NAMES[:num_classes])
    random = np.random.default_rng(0)
    counts = np.stack(
        [np.bincount(random.integers(0, len(truth), len(truth)), minlength=len(truth)) for _ in range(8)], 1
    )
    found = measure(counts.astype(float))
    for number in range(8):
        rows = np.repeat(np.arange(len(truth)), counts[:, number])
        expected = of_sklearn(truth[rows], scores[rows])
        assert {name: value[number] for name, value in found.items()} == pytest.approx(expected, abs=1e-12)


def test_missing_class_takes_the_mean_over_those_present():
    truth, scores = classification_case(4, 4)
    rows = truth != 2
    truth, scores = truth[rows], scores[rows]
    expected = np.mean([reference.roc_auc_score(truth == number, scores[:, number]) for number in (0, 1, 3)])
    found = score(TaskKind.CLASSIFICATION, truth, scores, NAMES[:4])
    assert found["roc_auc"] == pytest.approx(expected)
    assert found["f1_macro"] == pytest.approx(reference.f1_score(truth, scores.argmax(axis=1), average="macro"))


def test_log_loss_of_certain_mistakes_is_finite_as_in_sklearn():
    truth, scores = np.array([0, 1, 1]), np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    found = score(TaskKind.CLASSIFICATION, truth, scores, NAMES[:2])["log_loss"]
    assert found == pytest.approx(reference.log_loss(truth, scores))


@pytest.mark.parametrize("ties", [False, True])
def test_tagging_equals_sklearn(ties):
    random = np.random.default_rng(5)
    truth = (random.random((150, 4)) < [0.1, 0.3, 0.5, 0.9]).astype(np.float32)
    scores = np.clip(0.3 * truth + 0.7 * random.random((150, 4)), 0, 1)
    if ties:
        scores = scores.round(1)
    guessed = scores >= 0.5
    assert score(TaskKind.TAGGING, truth, scores, NAMES[:4]) == pytest.approx(
        {
            "f1_micro": reference.f1_score(truth, guessed, average="micro"),
            "f1_macro": reference.f1_score(truth, guessed, average="macro"),
            "accuracy": reference.accuracy_score(truth, guessed),
            "roc_auc": reference.roc_auc_score(truth, scores, average="macro"),
            "average_precision": reference.average_precision_score(truth, scores, average="macro"),
        },
        abs=1e-12,
    )


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_regression_equals_sklearn(shift):
    random = np.random.default_rng(6)
    truth = random.normal(size=100) + shift
    values = truth + 0.5 * random.normal(size=100)
    hidden = np.append(truth, np.nan)
    assert score(TaskKind.REGRESSION, hidden, np.append(values, 0.0), ()) == pytest.approx(
        {
            "r2": reference.r2_score(truth, values),
            "mean_absolute_error": reference.mean_absolute_error(truth, values),
            "root_mean_squared_error": reference.root_mean_squared_error(truth, values),
        },
        rel=1e-9,
    )


def test_risk_coverage_area_equals_the_definition():
    random = np.random.default_rng(7)
    confidence, correct = random.random(50), random.random(50) < 0.7
    order = np.argsort(-confidence)
    risks = [(~correct[order[: k + 1]]).mean() for k in range(50)]
    assert risk_coverage_area(confidence, correct) == pytest.approx(np.mean(risks))
