"""Heads of few labels: which rows are drawn, and what a nearest mean and a logistic head are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from omnifuse.api.drawing import draw_shots
from omnifuse.api.shots import SCALES, held_parts, logistic, nearest_means, prototypes
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError
from omnifuse.schema import Target, TaskKind

KIND = Target("kind", TaskKind.CLASSIFICATION, ("a", "b", "c"))


@pytest.fixture(scope="module")
def cloud():
    draw = np.random.default_rng(0)
    codes = np.arange(60) % 3
    values = draw.normal(size=(60, 5)) + 2 * np.eye(5)[codes]
    return torch.from_numpy(values), torch.from_numpy(codes)


def table_of(count):
    return open_table(
        [{"size": n, "kind": "abc"[n % 3] if n < count - 4 else None, "who": n // 6} for n in range(count)]
    )


def test_so_many_of_each_class_are_drawn_by_seed():
    found = draw_shots(table_of(64), KIND, 4, group=None, seed=0)
    kinds = found.learnt.cells("kind")
    assert [kinds.count(name) for name in "abc"] == [4, 4, 4]
    assert found.scored.num_rows == 60 - 12
    assert not set(found.learnt.cells("size")) & set(found.scored.cells("size"))
    assert None not in found.scored.cells("kind")
    again, other = (draw_shots(table_of(64), KIND, 4, group=None, seed=seed) for seed in (0, 1))
    assert again.learnt.cells("size") == found.learnt.cells("size") != other.learnt.cells("size")


def test_what_there_is_is_taken_and_groups_are_not_divided():
    every = draw_shots(table_of(16), KIND, 10, group=None, seed=0)
    assert every.learnt.num_rows == 12
    assert every.scored is None
    assert "or all there are ('a' 4, 'b' 4, 'c' 4)" in every.notes[0]
    found = draw_shots(table_of(64), KIND, 2, group="who", seed=0)
    assert not set(found.learnt.cells("who")) & set(found.scored.cells("who"))
    assert any("of groups that are learnt from are not scored" in note for note in found.notes)


def test_a_class_of_one_row_and_a_number_are_refused():
    rows = [{"size": n, "kind": "abc"[n] if n < 3 else "a"} for n in range(12)]
    with pytest.raises(InputError, match="the class 'b' of 'kind' has one labelled row"):
        draw_shots(open_table(rows), KIND, 4, group=None, seed=0)
    with pytest.raises(InputError, match="'size' is read as regression"):
        draw_shots(open_table(rows), Target("size", TaskKind.REGRESSION), 4, group=None, seed=0)


def test_the_nearest_mean_is_that_of_scikit_learn(cloud):
    values, codes = cloud
    weights, bias = prototypes(values, codes, 3)
    asked = np.random.default_rng(1).normal(size=(200, 5)) * 2
    wanted = NearestCentroid().fit(values.numpy(), codes.numpy()).predict(asked)
    np.testing.assert_array_equal((torch.from_numpy(asked) @ weights + bias).argmax(dim=1).numpy(), wanted)
    # How sharp it is changes no answer
    sharp = nearest_means(values, codes, torch.arange(60), 3)
    np.testing.assert_array_equal((torch.from_numpy(asked) @ sharp[0] + sharp[1]).argmax(dim=1).numpy(), wanted)


def test_the_logistic_head_is_that_of_scikit_learn_for_one_of_its_ridges(cloud):
    values, codes = cloud
    weights, bias = logistic(values, codes, torch.arange(60), 3)
    found = (values @ weights + bias).softmax(dim=1).numpy()
    nearest = min(
        np.abs(LogisticRegression(C=scale**2, tol=1e-8, max_iter=2000).fit(values.numpy(), codes.numpy())
               .predict_proba(values.numpy()) - found).max()
        for scale in SCALES
    )  # fmt: skip
    assert nearest < 2e-3


def test_a_class_that_is_not_learnt_from_is_not_answered(cloud):
    values, codes = cloud
    some = codes < 2
    weights, bias = prototypes(values[some], codes[some], 3)
    assert int((values @ weights + bias).argmax(dim=1).max()) == 1


def test_what_is_of_one_row_is_held_out_together():
    items = torch.tensor([5, 9, 5, 7, 9, 7, 1, 2])
    parts = held_parts(items)
    assert int(torch.stack(parts).sum()) == len(items)
    for held in parts:
        assert not set(items[held].tolist()) & set(items[~held].tolist())


def test_thresholds_are_lower_for_classes_that_are_learnt_slowly():
    from omnifuse.training.semi_supervised import AdaptiveThreshold

    threshold = AdaptiveThreshold(torch.tensor([1.0, 1.0]))
    often, rarely = torch.tensor([[0.95, 0.05]]), torch.tensor([[0.3, 0.7]])
    for _ in range(300):
        threshold(torch.cat([often.expand(9, 2), rarely]))
    # What the teacher says too often counts less after alignment, what it says rarely counts more
    assert threshold(rarely).tolist() == [1]
    assert threshold(torch.tensor([[0.55, 0.45]])).tolist() != [0]
    unsure = AdaptiveThreshold(torch.tensor([1.0, 1.0]))
    unsure.sure.fill_(0.9)
    assert unsure(torch.tensor([[0.6, 0.4], [0.97, 0.03]])).tolist() == [-1, 0]
