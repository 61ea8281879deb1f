"""The ordinal task against its written-out formulas, and its metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from omnifuse.evaluation import paired_test, score
from omnifuse.evaluation.metrics import measure_of
from omnifuse.schema import Target, TaskKind
from omnifuse.tasks import ForestHead, OrdinalTask, Summary
from omnifuse.tasks.ordinal import log_probabilities
from omnifuse.tokens import Fused

NAMES = ("a", "b", "c", "d", "e")
ORDINAL = TaskKind.ORDINAL


def case(seed, levels, rows=150):
    draw = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(levels), draw.integers(0, levels, rows - levels)])
    logits = draw.normal(size=(rows, levels)) + 2 * np.eye(levels)[truth]
    shares = np.exp(logits)
    return truth, shares / shares.sum(axis=1, keepdims=True)


def of_sklearn(truth, scores):
    answers = scores.argmax(axis=1)
    return {
        "quadratic_weighted_kappa": reference.cohen_kappa_score(truth, answers, weights="quadratic"),
        "mean_absolute_error": reference.mean_absolute_error(truth, answers),
        "accuracy": reference.accuracy_score(truth, answers),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, answers),
        "log_loss": reference.log_loss(truth, scores, labels=range(scores.shape[1])),
    }


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_metrics_equal_sklearn_whole_and_on_resamples(levels):
    truth, scores = case(levels, levels)
    hidden = np.append(truth, -1)
    ours = score(ORDINAL, hidden, np.append(scores, scores[:1], axis=0), NAMES[:levels])
    assert ours == pytest.approx(of_sklearn(truth, scores), abs=1e-12)
    draw = np.random.default_rng(0)
    counts = np.stack([np.bincount(draw.integers(0, 150, 150), minlength=150) for _ in range(4)], axis=1)
    found = measure_of(ORDINAL, truth, scores, NAMES[:levels])(counts.astype(float))
    for number in range(4):
        rows = np.repeat(np.arange(150), counts[:, number])
        expected = of_sklearn(truth[rows], scores[rows])
        assert {name: value[number] for name, value in found.items()} == pytest.approx(expected, abs=1e-12)


def test_a_constant_answer_has_no_kappa_to_speak_of():
    truth, _ = case(1, 3)
    constant = np.tile([0.2, 0.5, 0.3], (len(truth), 1))
    assert score(ORDINAL, truth, constant, NAMES[:3])["quadratic_weighted_kappa"] == pytest.approx(0.0, abs=1e-12)
    assert score(ORDINAL, np.ones(9, int), constant[:9], NAMES[:3])["quadratic_weighted_kappa"] is None


def test_the_paired_difference_is_that_of_the_kappas():
    truth, first = case(2, 4)
    second = case(2, 4)[1][::-1]
    found = paired_test(ORDINAL, truth, first, second, seed=0)
    kappas = [of_sklearn(truth, scores)["quadratic_weighted_kappa"] for scores in (first, second)]
    assert found["metric"] == "quadratic_weighted_kappa"
    assert found["difference"] == pytest.approx(kappas[0] - kappas[1], abs=1e-12)
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["p"] < 0.05


def test_probabilities_are_differences_of_logistic_functions():
    score_B1 = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None]
    cuts = torch.tensor([-1.5, 0.25, 2.0], dtype=torch.float64)
    below = torch.cat([torch.zeros(9, 1), torch.sigmoid(cuts - score_B1), torch.ones(9, 1)], dim=1)
    found = log_probabilities(score_B1, cuts).double().exp()
    torch.testing.assert_close(found, below.diff(dim=1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(9, dtype=torch.float64), atol=1e-6, rtol=0)


def test_far_scores_and_close_thresholds_stay_finite():
    score_B1 = torch.tensor([[-1e4], [1e4], [0.0]], requires_grad=True)
    cuts = torch.tensor([0.0, 1e-3, 5.0], requires_grad=True)
    found = log_probabilities(score_B1, cuts)
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert bool(score_B1.grad.isfinite().all())
    assert bool(cuts.grad.isfinite().all())


def test_thresholds_are_ordered_whatever_is_learnt_and_levels_start_alike():
    task = OrdinalTask(Target("y", ORDINAL, NAMES), 8, ("x", "z"))
    even = log_probabilities(torch.zeros(1, 1), task.thresholds(2)).exp()
    torch.testing.assert_close(even, torch.full((1, 5), 0.2), atol=1e-3, rtol=0)
    with torch.no_grad():
        task.gaps.copy_(torch.randn_like(task.gaps) * 5)
    assert all(bool((task.thresholds(head).diff() > 0).all()) for head in range(3))


def test_loss_and_smoothing_written_out():
    torch.manual_seed(0)
    pooled = torch.randn(3, 8)
    fused, target = Fused(pooled[:, None], torch.ones(3, 1, dtype=torch.bool), pooled), torch.tensor([0, 1, 2])
    task = OrdinalTask(Target("y", ORDINAL, NAMES[:3]), 8, ("x",), label_smoothing=0.1).eval()
    found = task(fused, {}, target)
    shares = torch.tensor([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.0, 0.1, 0.9]])
    torch.testing.assert_close(found.loss, -(shares * found.fused).sum(dim=1).mean())
    assert torch.equal(task(fused, {}, torch.tensor([0, -1, 2])).fused, found.fused)


def test_two_levels_are_logistic_regression():
    torch.manual_seed(1)
    pooled = torch.randn(5, 8)
    fused = Fused(pooled[:, None], torch.ones(5, 1, dtype=torch.bool), pooled)
    task = OrdinalTask(Target("y", ORDINAL, NAMES[:2]), 8, ("x",)).eval()
    found = task(fused, {}).fused.exp()
    wanted = torch.sigmoid(task.heads.fused(pooled)[:, 0] - task.thresholds(0)[0])
    torch.testing.assert_close(found[:, 1], wanted)


def test_the_forest_of_levels_answers_shares_that_sum_to_one():
    draw = np.random.default_rng(0)
    values = torch.from_numpy(draw.normal(size=(120, 3))).float()
    level = torch.bucketize(values[:, 0].contiguous(), torch.tensor([-0.5, 0.5]))
    torch.manual_seed(0)
    head = ForestHead({"table": 3}, 3, ORDINAL)
    summary = {"table": Summary(values, torch.ones(120, dtype=torch.bool))}
    head.fit(summary, torch.nn.functional.one_hot(level, 3).float())
    shares = head(summary, 120).exp()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(120))
    assert bool((shares > 0).all())
    assert float((shares.argmax(dim=1) == level).float().mean()) > 0.95
