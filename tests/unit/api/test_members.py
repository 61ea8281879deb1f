from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omnifuse.api import members as module
from omnifuse.api.budget import Budget
from omnifuse.api.member import number_scale, training_targets
from omnifuse.api.members import answers_of_members, restrict
from omnifuse.api.partition import partition
from omnifuse.api.scoring import bare_readout, crossfitted, crossfitted_scores, prior_scores, target_result
from omnifuse.data.pack import Pack
from omnifuse.evaluation import fit_readout
from omnifuse.readout import RawOutputs, TargetReadout
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

KIND = Target("kind", TaskKind.CLASSIFICATION, ("a", "b"))
PRICE = Target("price", TaskKind.REGRESSION)
TAGS = Target("tags", TaskKind.TAGGING, ("x", "y"))
SCHEMA = Schema(
    (Field("note", Modality.TEXT), Field("size", Modality.NUMBER), Field("hue", Modality.CATEGORY)), (KIND,)
)


def test_answers_stand_in_the_order_asked_and_come_from_members_that_had_not_learnt_the_row(monkeypatch):
    learnable = np.array([row for row in range(60) if row % 7])
    found = partition(learnable, labels=None, groups=None, times=None, num_members=3, seed=0)

    def run(members, packs, rows, subsets):
        number = members[0]
        values = np.stack([rows, np.full(len(rows), number)], axis=1)[None].astype(np.float32)
        return {subset: RawOutputs({"y": values}, {"y": {}}, {"note": np.ones(len(rows), bool)}) for subset in subsets}

    monkeypatch.setattr(module, "run_subsets", run)
    pack = Pack({}, np.arange(61), np.ones(60, bool))
    prepared, network = SimpleNamespace(packs={"note": pack}), SimpleNamespace(members=tuple(range(5)))
    asked = np.random.default_rng(1).permutation(learnable)[:40]
    answers = answers_of_members(prepared, found, network, asked, [("note",)])[("note",)].fused["y"][0]
    assert answers[:, 0].tolist() == asked.tolist()
    for row, number in answers.astype(int):
        assert row in found.members[number].out
        assert row not in found.members[number].train


def test_the_budget_is_shared_by_what_is_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    budget = Budget(60.0, (1.0,) * 4, started=100.0)
    assert budget.share() == 15.0
    now[0], budget.done = 130.0, 1
    assert budget.share() == 10.0
    assert budget.eta(0.0) == pytest.approx(30.0)
    now[0], budget.done = 500.0, 3
    assert budget.share() == 1.0
    assert Budget(None, (1.0,) * 3).share() is None


def test_a_heavy_network_gets_its_weight_of_the_budget(monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    budget = Budget(60.0, (1.0, 4.0, 1.0), started=0.0)
    assert budget.share() == 10.0
    budget.done = 1
    assert budget.share() == pytest.approx(48.0)
    assert budget.eta(0.5) == pytest.approx(0.0)


def test_restricting_keeps_the_columns_of_the_inputs():
    assert [item.name for item in restrict(SCHEMA, ("note",)).fields] == ["note"]
    assert [item.name for item in restrict(SCHEMA, ("table",)).fields] == ["size", "hue"]


def test_numbers_are_standardised_by_the_rows_that_are_learnt_from_alone():
    values = np.array([1.0, 3.0, np.nan, 1000.0])
    assert number_scale(values[:3]) == (2.0, 1.0)
    assert number_scale(np.array([5.0, 5.0]))[1] > 0
    prepared = SimpleNamespace(targets={"price": values}, taught={})
    schema = Schema((Field("note", Modality.TEXT),), (PRICE,))
    found = training_targets(prepared, schema, np.array([0, 1, 2]))["price"]
    assert found[:2].tolist() == [-1.0, 1.0]
    assert bool(found[2].isnan())
    assert found[3].item() == 998.0


def test_the_bare_readout_knows_the_shares_of_the_learnt_rows():
    codes = np.array([0, 0, 0, 1, -1, 1, 1, 1])
    found = bare_readout(KIND, SCHEMA, codes, np.arange(5))
    assert found.prior == pytest.approx((3.5 / 5, 1.5 / 5))
    tags = np.array([[1.0, 0.0], [1.0, 1.0], [np.nan, np.nan], [0.0, 0.0]])
    assert bare_readout(TAGS, SCHEMA, tags, np.arange(3)).prior == (1.0, 0.5)
    price = bare_readout(PRICE, SCHEMA, np.array([1.0, 3.0, np.nan, 99.0]), np.arange(3))
    assert (price.mean, price.scale) == (2.0, 1.0)
    assert prior_scores(price, 2).tolist() == [2.0, 2.0]
    assert prior_scores(found, 3).shape == (3, 2)


def test_a_row_is_calibrated_without_its_own_fold():
    """A row's own label must not reach its score: turning the labels of one fold changes the other folds alone."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(1, 200, 2)).astype(np.float32)
    raw = RawOutputs({"kind": logits}, {"kind": {}}, {"note": np.ones(200, bool)})
    truth = (logits[0, :, 1] + draw.normal(size=200) > logits[0, :, 0]).astype(np.int64)
    folds = np.arange(200) % 5
    bare = TargetReadout(KIND, ("note",), prior=(0.5, 0.5))
    before = crossfitted_scores(bare, {("note",): raw}, truth, folds)[("note",)]
    turned = np.where(folds == 2, 1 - truth, truth)
    after = crossfitted_scores(bare, {("note",): raw}, turned, folds)[("note",)]
    assert np.array_equal(before[folds == 2], after[folds == 2])
    assert not np.allclose(before[folds != 2], after[folds != 2])


def test_the_class_answered_follows_the_tilt_of_the_other_folds():
    """Each fold's answers are chosen by a readout that had not seen it; scores stay probabilities."""
    draw = np.random.default_rng(1)
    truth = draw.choice(2, 900, p=[0.8, 0.2])
    signs = 1.5 * draw.normal(size=900) + 2.0 * truth - 2.5
    logits = np.stack([np.zeros(900), signs], axis=1)[None].astype(np.float32)
    raw = RawOutputs({"kind": logits}, {"kind": {}}, {"note": np.ones(900, bool)})
    bare = TargetReadout(KIND, ("note",), prior=(0.8, 0.2))
    folds = np.arange(900) % 3
    found = crossfitted(bare, {("note",): raw}, truth, folds)
    chosen, scores = found.chosen[("note",)], found.scores[("note",)]
    assert not found.intervals
    for fold in range(3):
        readout = fit_readout(bare, {("note",): raw}, truth, rows=folds != fold)
        assert np.array_equal(chosen[folds == fold], readout.choose(scores[folds == fold]))
    some = np.array([5, 3])
    assert found.rows(some).chosen[("note",)].tolist() == chosen[some].tolist()
    result = target_result(KIND, truth, found, {("note",): raw}, singles={}, simple={})
    assert result["metrics"]["accuracy"]["value"] == pytest.approx((chosen == truth).mean())
    assert result["subsets"]["note"]["accuracy"] == pytest.approx((chosen == truth).mean())
