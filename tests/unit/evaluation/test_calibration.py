"""Temperatures and weights: hand-computed, recovered, and held back where few rows speak."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnifuse.evaluation import calibration_error, calibration_subsets, confidences, fit_readout, score
from omnifuse.evaluation.calibration import best_temperature
from omnifuse.readout import RawOutputs, TargetReadout
from omnifuse.readout.target_readout import SHARPEST, log_softmax, shallow_head
from omnifuse.schema import Target, TaskKind

CLASSIFICATION, TAGGING, REGRESSION = TaskKind.CLASSIFICATION, TaskKind.TAGGING, TaskKind.REGRESSION
FIELDS = ("image", "audio")

LINE = shallow_head("linear")


def bare_of(kind, classes=("a", "b", "c"), **more):
    return TargetReadout(Target("y", kind, classes), FIELDS, **more)


def raw_of(fused, heads, present=None):
    count = fused.shape[1]
    there = {name: np.ones(count, bool) if present is None else present[name] for name in FIELDS}
    return RawOutputs({"y": fused}, {"y": heads}, there)


def draw(count, classes, seed, *, strength=1.5):
    """Labels drawn from the very probabilities of the logits: calibrated by construction."""
    random = np.random.default_rng(seed)
    logits = strength * random.normal(size=(count, classes))
    probabilities = np.exp(log_softmax(logits))
    truth = (probabilities.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)
    return np.minimum(truth, classes - 1), logits


def test_temperature_by_hand():
    # Logit 4 for the class, right in 3 of 4 rows: true odds are 3, so 4 / T = log 3
    logits = np.tile([4.0, 0.0], (4000, 1))
    truth = np.array([0, 0, 0, 1] * 1000)
    assert best_temperature(CLASSIFICATION, logits[None], truth) == pytest.approx(4 / math.log(3), rel=1e-3)
    tags = (truth == 0).astype(float)[:, None]
    assert best_temperature(TAGGING, logits[None, :, :1], tags) == pytest.approx(4 / math.log(3), rel=1e-3)


def test_temperature_without_evidence_is_one():
    assert best_temperature(CLASSIFICATION, np.zeros((1, 0, 2)), np.zeros(0, int)) == pytest.approx(1.0, abs=1e-3)
    constant = best_temperature(CLASSIFICATION, np.zeros((1, 50, 2)), np.zeros(50, int))
    assert constant == pytest.approx(1.0, abs=1e-3)


def test_temperature_stays_within_its_bounds():
    perfect = best_temperature(CLASSIFICATION, np.tile([0.1, 0.0], (1, 10**5, 1)), np.zeros(10**5, int))
    assert SHARPEST <= perfect < 0.06


@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_calibration_restores_confidence(factor):
    truth, logits = draw(4000, 3, 0)
    raw = raw_of(factor * logits[None], {})
    bare = bare_of(CLASSIFICATION)
    before = calibration_error(*confidences(CLASSIFICATION, truth, bare.scores(raw)))
    fitted = fit_readout(bare, {FIELDS: raw}, truth)
    after = calibration_error(*confidences(CLASSIFICATION, truth, fitted.scores(raw)))
    assert fitted.subsets["image+audio"].temperature == pytest.approx(factor, rel=0.1)
    assert before > 0.1
    assert after < 0.025


def test_weights_find_the_better_head():
    truth, logits = draw(2000, 3, 1, strength=2.5)
    noise = np.random.default_rng(2).normal(size=logits.shape)
    heads = {"image": logits[None], "audio": noise[None]}
    raw = raw_of(noise[None] * 2, heads)
    fitted = fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth)
    weights = fitted.subsets["image+audio"].weights
    assert weights["image"] > 0.9
    assert sum(weights.values()) == pytest.approx(1.0, abs=0.01)
    better = score(CLASSIFICATION, truth, fitted.scores(raw), ("a", "b", "c"))
    alone = score(CLASSIFICATION, truth, bare_of(CLASSIFICATION).scores(raw), ("a", "b", "c"))
    assert better["log_loss"] < alone["log_loss"] - 0.3


def test_useless_heads_get_no_weight():
    truth, logits = draw(2000, 3, 1, strength=2.5)
    noise = np.random.default_rng(2).normal(size=(2, *logits.shape))
    raw = raw_of(logits[None], {"image": noise[:1], "audio": noise[1:]})
    weights = fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth).subsets["image+audio"].weights
    assert weights["fused"] > 0.9


def test_few_rows_change_little():
    truth, logits = draw(12, 3, 3)
    # One head that happens to be perfect on twelve rows
    lucky = 5.0 * np.eye(3)[truth]
    raw = raw_of(logits[None], {"image": lucky[None], "audio": 0 * logits[None]})
    few = fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth).subsets["image+audio"]
    assert few.weights["fused"] > 0.5
    assert few.temperature > 0.3


@pytest.mark.parametrize("kind", [CLASSIFICATION, REGRESSION])
def test_in_stretches_of_time_the_network_has_to_earn_its_weight(kind):
    random = np.random.default_rng(11)
    label = random.integers(0, 2, 1000)
    if kind is CLASSIFICATION:
        # The line is a little worse than the network
        line, network = (np.stack([-view, view], axis=1) for view in 2 * label - 1 + random.normal(size=(2, 1000)))
        network, truth, bare = 1.1 * network, label, bare_of(CLASSIFICATION, ("a", "b"))
    else:
        truth = random.normal(size=1000)
        line, network = (truth + spread * random.normal(size=1000) for spread in (0.55, 0.5))
        line, network, bare = line[:, None], network[:, None], bare_of(REGRESSION, ())
    raw = raw_of(network[None], {LINE: line[None]})
    by_rows = fit_readout(bare, {FIELDS: raw}, truth).subsets["image+audio"].weights
    stretches = np.arange(1000) // 200
    in_time = fit_readout(bare, {FIELDS: raw}, truth, stretches=stretches).subsets["image+audio"].weights
    each = fit_readout(bare, {FIELDS: raw}, truth, stretches=np.arange(1000)).subsets["image+audio"].weights
    assert by_rows["fused"] > 0.45
    assert in_time["fused"] < by_rows["fused"] - 0.05
    # As many stretches as rows: only the place of the prior differs
    assert each == pytest.approx(by_rows, abs=0.05)
    useless = raw_of(network[None], {LINE: 0.0 * line[None] + random.normal(size=line.shape)[None]})
    earned = fit_readout(bare, {FIELDS: useless}, truth, stretches=stretches).subsets["image+audio"].weights
    assert earned["fused"] > in_time["fused"] + 0.05


def test_without_a_shallow_head_stretches_pull_to_the_fused_head():
    truth, logits = draw(100, 3, 3)
    lucky = 5.0 * np.eye(3)[truth]
    raw = raw_of(logits[None], {"image": lucky[None], "audio": 0 * logits[None]})
    found = fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth, stretches=np.arange(100) // 20)
    assert found.subsets["image+audio"].weights["fused"] > 0.5


def test_independent_heads_share_the_weight():
    random = np.random.default_rng(4)
    truth = random.integers(0, 2, 3000)
    views = [np.stack([-view, view], axis=1) for view in (2 * truth - 1 + 1.5 * random.normal(size=(3, 3000)))]
    raw = raw_of(views[0][None], {"image": views[1][None], "audio": views[2][None]})
    weights = fit_readout(bare_of(CLASSIFICATION, ("a", "b")), {FIELDS: raw}, truth).subsets["image+audio"].weights
    assert all(weight == pytest.approx(1 / 3, abs=0.06) for weight in weights.values())
    assert set(weights) == {"fused", "image", "audio"}


def test_tagging_weights_and_temperature():
    random = np.random.default_rng(5)
    logits = 2 * random.normal(size=(3000, 2))
    truth = (random.random((3000, 2)) < 1 / (1 + np.exp(-logits))).astype(float)
    truth[::7] = np.nan
    raw = raw_of(random.normal(size=(1, 3000, 2)), {"image": 3 * logits[None], "audio": 0 * logits[None]})
    fitted = fit_readout(bare_of(TAGGING, ("a", "b")), {FIELDS: raw}, truth)
    found = fitted.subsets["image+audio"]
    assert found.weights["image"] > 0.9
    assert found.temperature / found.weights["image"] == pytest.approx(3, rel=0.1)
    assert calibration_error(*confidences(TAGGING, truth, fitted.scores(raw))) < 0.02


def test_regression_weights_are_those_of_least_squares():
    random = np.random.default_rng(6)
    truth = 50 + 10 * random.normal(size=4000)
    standard = (truth - 50) / 10
    fused, image = standard + random.normal(size=4000), standard + 0.5 * random.normal(size=4000)
    raw = raw_of(fused[None, :, None], {"image": image[None, :, None]})
    fitted = fit_readout(bare_of(REGRESSION, (), mean=50.0, scale=10.0), {FIELDS: raw}, truth)
    # Inverse variances: 1 to 4
    assert fitted.subsets["image+audio"].weights["image"] == pytest.approx(0.8, abs=0.03)
    assert score(REGRESSION, truth, fitted.scores(raw), ())["root_mean_squared_error"] < 4.8


def test_members_are_calibrated_by_their_mean():
    truth, logits = draw(4000, 3, 7)
    noise = 3 * np.random.default_rng(8).normal(size=(5, *logits.shape))
    raw = raw_of(3 * (logits + noise), {})
    fitted = fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth)
    assert calibration_error(*confidences(CLASSIFICATION, truth, fitted.scores(raw))) < 0.04


def test_only_rows_with_exactly_the_subset_count():
    truth, logits = draw(600, 3, 9)
    has_audio = np.arange(600) < 300
    full = raw_of(logits[None].copy(), {}, {"image": np.ones(600, bool), "audio": has_audio})
    # Rows without sound are confident nonsense: they must not touch the calibration of the whole
    full.fused["y"][:, 300:] = 50 * np.random.default_rng(0).normal(size=(1, 300, 3))
    only = raw_of(3 * logits[None], {}, {"image": np.ones(600, bool), "audio": np.zeros(600, bool)})
    found = fit_readout(bare_of(CLASSIFICATION), {FIELDS: full, ("image",): only}, truth).subsets
    assert found["image+audio"].temperature == pytest.approx(1.0, abs=0.25)
    assert found["image"].temperature == pytest.approx(3.0, abs=0.5)


def test_subsets_with_too_few_rows_are_left_out():
    truth, logits = draw(100, 3, 10)
    raw = raw_of(logits[None], {})
    assert fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth, rows=np.arange(9)).subsets == {}
    assert fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, np.full(100, -1)).subsets == {}
    assert len(fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth, rows=np.arange(10)).subsets) == 1
    with pytest.raises(AssertionError, match="3 labels but 100 rows"):
        fit_readout(bare_of(CLASSIFICATION), {FIELDS: raw}, truth[:3])


@pytest.mark.parametrize("kind", [CLASSIFICATION, TAGGING, REGRESSION])
def test_degenerate_outputs_stay_finite(kind):
    classes = () if kind is REGRESSION else ("a", "b")
    width = 1 if kind is REGRESSION else 2
    truth = {CLASSIFICATION: np.zeros(30, int), TAGGING: np.zeros((30, 2)), REGRESSION: np.ones(30)}[kind]
    outputs = np.zeros((1, 30, width))
    raw = raw_of(outputs, {"image": outputs, "audio": 1000.0 + outputs})
    fitted = fit_readout(bare_of(kind, classes), {FIELDS: raw}, truth)
    assert np.isfinite(fitted.scores(raw)).all()
    assert TargetReadout.from_json(fitted.to_json()) == fitted


def test_which_subsets_are_calibrated():
    assert len(calibration_subsets(tuple("abcde"))) == 31
    assert len(calibration_subsets(tuple("abcdef"))) == 1 + 6 + 6
    assert calibration_subsets(("a",)) == [("a",)]
