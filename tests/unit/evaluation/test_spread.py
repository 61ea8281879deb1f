"""Intervals of numbers: true on unseen rows, wide where there is noise, narrow where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from omnifuse.evaluation import fit_readout, interval_summary
from omnifuse.evaluation.spread import fit_spread, spread_powers
from omnifuse.readout import RawOutputs, TargetReadout
from omnifuse.readout.interval import APART, SpreadCalibration, doubt
from omnifuse.schema import Target, TaskKind

FIELDS = ("a", "b")
BARE = TargetReadout(Target("y", TaskKind.REGRESSION), FIELDS, mean=50.0, scale=10.0)


def world(rows, *, seed=0, noisy=True, told=True):
    """Values, truth (label's units) and noise of rows; every third row lacks the field b."""
    draw = np.random.default_rng(seed)
    signal = draw.normal(size=rows)
    noise = np.where(draw.random(rows) < 0.5, 0.1, 1.0) if noisy else np.full(rows, 0.5)
    truth = 50.0 + 10.0 * (signal + noise * draw.normal(size=rows))
    present = {"a": np.ones(rows, bool), "b": np.arange(rows) % 3 > 0}
    spread = noise * np.exp(0.3 * draw.normal(size=rows)) if told else draw.uniform(0.2, 2.0, rows)
    raw = RawOutputs({"y": signal[None, :, None]}, {"y": {}}, present, spreads={"y": {"fused": spread[None]}})
    return raw, truth, noise


def fitted(rows=600, **options):
    raw, truth, _ = world(rows, seed=1, **options)
    return fit_readout(BARE, {FIELDS: raw, ("a",): raw}, truth)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_the_promise_is_kept_on_rows_that_nobody_saw_for_each_subset_of_fields(level):
    raw, truth, _ = world(600, seed=1)
    readout = fit_readout(replace(BARE, level=level), {FIELDS: raw, ("a",): raw}, truth)
    asked, wanted, _ = world(6000, seed=2)
    found = readout.intervals(asked)
    assert set(readout.subsets) == {"a+b", "a"}
    for rows in (asked.present["b"], ~asked.present["b"]):
        assert interval_summary(found[rows], wanted[rows])["coverage"] == pytest.approx(level, abs=0.04)


def test_noisy_rows_get_wide_intervals_and_all_together_are_narrower():
    asked, wanted, noise = world(4000, seed=3)
    told, untold = fitted().intervals(asked), fitted(told=False).intervals(asked)
    width = np.diff(told)[:, 0]
    assert width[noise == 1.0].mean() > 4 * width[noise == 0.1].mean()
    assert interval_summary(told, wanted)["mean_width"] < 0.8 * interval_summary(untold, wanted)["mean_width"]
    for level in (0.1, 1.0):
        assert interval_summary(told[noise == level], wanted[noise == level])["coverage"] > 0.8


def test_a_sign_that_tells_nothing_is_not_followed():
    by = fitted(told=False, noisy=False).subsets["a+b"].interval
    assert by.powers.get("fused", 0.0) < 0.1
    assert fitted().subsets["a+b"].interval.powers["fused"] > 0.5


def test_the_interval_stands_about_the_value_and_equal_doubt_gives_equal_width():
    asked, _, _ = world(50, seed=4)
    readout = fitted(noisy=False)
    found = readout.intervals(asked)
    assert found.mean(axis=1) == pytest.approx(readout.scores(asked))
    again = TargetReadout.from_json(readout.to_json())
    assert np.array_equal(again.intervals(asked), found)
    assert again == readout


def test_powers_are_those_of_greatest_likelihood():
    draw = np.random.default_rng(0)
    signs = draw.normal(size=(300, 2))
    sizes = np.abs(draw.laplace(size=300) * np.exp(signs @ [0.8, 0.3] - 1.0))

    def loss(point):
        return float((sizes * np.exp(-signs @ point[:2] - point[2]) + signs @ point[:2] + point[2]).mean())

    wanted = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x[:2]
    assert spread_powers(signs, sizes, 0.0) == pytest.approx(wanted, abs=1e-4)
    turned = spread_powers(-signs, sizes, 0.0)
    assert turned == pytest.approx([0.0, 0.0])
    assert (spread_powers(signs, sizes, 5.0) < wanted).all()


def test_the_width_by_hand():
    errors = np.array([1.0, -2.0, 3.0, -4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    found = fit_spread({APART: np.zeros(9)}, errors, coverage=0.9, pull=1.0)
    assert found == SpreadCalibration(9.0, {})
    assert fit_spread({APART: np.zeros(9)}, errors, coverage=0.8, pull=1.0).width == 8.0
    assert fit_spread({APART: np.zeros(8)}, errors[:8], coverage=0.9, pull=1.0) is None
    assert SpreadCalibration(2.0, {"x": 0.5}).half_widths({"x": np.log([1.0, 4.0])}) == pytest.approx([2.0, 4.0])


def test_signs_by_hand():
    heads = {"fused": np.array([[[1.0], [2.0]], [[1.0], [2.0]]]), "a": np.array([[[3.0], [2.0]], [[1.0], [2.0]]])}
    found = doubt(heads, {"fused": 0.5, "a": 0.5}, {"fused": np.array([[0.5, 100.0], [1.5, 100.0]])})
    assert np.exp(found["fused"]) == pytest.approx([1.0, 20.0])
    assert np.exp(found[APART]) == pytest.approx([0.5, 0.02])
    assert np.exp(doubt(heads, {"fused": 1.0}, {})[APART]) == pytest.approx([0.02, 0.02])


def test_too_few_rows_promise_nothing_and_no_field_takes_the_prior():
    raw, truth, _ = world(9)
    readout = fit_readout(BARE, {FIELDS: raw}, truth)
    assert np.isnan(readout.intervals(raw)).all()
    none = RawOutputs(raw.fused, raw.fields, {name: np.zeros(9, bool) for name in FIELDS})
    wide = TargetReadout(BARE.target, FIELDS, mean=50.0, scale=10.0, prior_width=7.0)
    assert wide.intervals(none)[0] == pytest.approx([43.0, 57.0])
    assert interval_summary(readout.intervals(raw), truth) == {"coverage": None, "mean_width": None}
