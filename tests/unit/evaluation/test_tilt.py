"""The tilt: found where a rare class is drowned, none where it would cost accuracy or nothing can tell."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from omnifuse.evaluation import fit_readout, score
from omnifuse.evaluation.tilt import FEWEST_ROWS, fit_tilt, macro_f1
from omnifuse.readout import RawOutputs, TargetReadout
from omnifuse.readout.decision import choose_classes
from omnifuse.schema import Target, TaskKind

PRIOR = np.array([0.6, 0.3, 0.1])


def drowned(count, seed, *, prior=PRIOR, strength=1.0):
    """Labels and true probabilities of rows that tell a little of their class."""
    random = np.random.default_rng(seed)
    truth = random.choice(len(prior), count, p=prior)
    signs = random.normal(size=(count, len(prior)))
    signs[np.arange(count), truth] += strength
    odds = np.log(prior) + strength * signs
    probabilities = np.exp(odds - odds.max(axis=1, keepdims=True))
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_a_drowned_class_is_answered_at_hardly_any_cost():
    tilt = fit_tilt(*reversed(drowned(3000, 0, strength=0.7)), PRIOR)
    assert 0.1 <= tilt <= 0.5
    truth, probabilities = drowned(20_000, 1, strength=0.7)
    usual, tilted = probabilities.argmax(axis=1), choose_classes(probabilities, PRIOR, tilt)
    assert (tilted == truth).mean() > (usual == truth).mean() - 0.012
    assert macro_f1(truth, tilted, 3) > macro_f1(truth, usual, 3) + 0.02


def test_macro_f1_is_that_of_scikit_learn():
    random = np.random.default_rng(2)
    truth, answers = random.integers(0, 4, 200), random.integers(1, 5, 200)
    expected = f1_score(truth, answers, average="macro", labels=range(5))
    assert macro_f1(truth, answers, 5) == pytest.approx(expected, abs=1e-12)


def test_even_classes_few_rows_and_certain_answers_keep_the_most_probable():
    even = np.full(3, 1 / 3)
    truth, probabilities = drowned(3000, 3, prior=even)
    assert fit_tilt(probabilities, truth, even) == 0.0
    truth, probabilities = drowned(FEWEST_ROWS - 1, 4)
    assert fit_tilt(probabilities, truth, PRIOR) == 0.0
    truth, _ = drowned(500, 5)
    assert fit_tilt(np.eye(3)[truth], truth, PRIOR) == 0.0


def test_a_tilt_that_costs_accuracy_is_not_taken():
    # Without any sign each step away from the usual class loses
    truth = np.array([0] * 900 + [1] * 100)
    random = np.random.default_rng(6)
    rare = random.uniform(0.05, 0.15, 1000)
    tilt = fit_tilt(np.stack([1 - rare, rare], axis=1), truth, np.array([0.9, 0.1]))
    lost = 0.9 - (choose_classes(np.stack([1 - rare, rare], axis=1), np.array([0.9, 0.1]), tilt) == truth).mean()
    assert lost <= 0.25 * (0.9 * 0.1 / 1000) ** 0.5


def test_the_readout_finds_it_and_the_probabilities_stay():
    truth, probabilities = drowned(3000, 0, strength=0.7)
    target = Target("y", TaskKind.CLASSIFICATION, ("a", "b", "c"))
    bare = TargetReadout(target, ("note",), prior=tuple(PRIOR))
    raw = RawOutputs({"y": np.log(probabilities)[None]}, {"y": {}}, {"note": np.ones(3000, bool)})
    fitted = fit_readout(bare, {("note",): raw}, truth)
    assert fitted.tilt > 0
    scores = fitted.scores(raw)
    usual, tilted = (score(target.kind, truth, scores, target.classes, chosen=c) for c in (None, fitted.choose(scores)))
    assert tilted["f1_macro"] > usual["f1_macro"] + 0.02
    assert tilted["log_loss"] == usual["log_loss"]
    assert tilted["roc_auc"] == usual["roc_auc"]
    assert fit_readout(TargetReadout(target, ("note",)), {("note",): raw}, truth).tilt == 0.0
    assert fit_readout(bare, {("note",): raw}, truth, stretches=np.arange(3000) // 600).tilt == 0.0
