"""Rows in folds: every row once, groups whole, time in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnifuse.data.splits import make_folds, make_holdout
from omnifuse.errors import InputError

codes = st.lists(st.integers(0, 6), min_size=10, max_size=80).map(np.array)


@given(labels=codes, num_folds=st.integers(2, 6), seed=st.integers(0, 9))
def test_every_row_in_one_fold_and_classes_even(labels, num_folds, seed):
    folds = make_folds(len(labels), labels=labels, num_folds=num_folds, seed=seed)
    assert folds.dtype == np.int64
    assert set(folds.tolist()) == set(range(min(num_folds, len(labels))))
    sizes = np.bincount(folds, minlength=num_folds)
    assert sizes.max() - sizes.min() <= 1
    for label in set(labels.tolist()):
        counts = np.bincount(folds[labels == label], minlength=num_folds)
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(folds, make_folds(len(labels), labels=labels, num_folds=num_folds, seed=seed))


@given(groups=codes, num_folds=st.integers(2, 6), data=st.data())
def test_groups_are_never_divided(groups, num_folds, data):
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups))))
    if len(np.unique(groups)) < 2:
        with pytest.raises(InputError, match=r"all rows belong to one group.*Leave --group out"):
            make_folds(len(groups), groups=groups)
        return
    folds = make_folds(len(groups), labels=labels, groups=groups, num_folds=num_folds)
    assert 2 <= len(set(folds.tolist())) <= num_folds
    assert set(folds.tolist()) == set(range(folds.max() + 1))
    held = make_holdout(len(groups), labels=labels, groups=groups)
    assert 0 < held.sum() < len(groups)
    for group in set(groups.tolist()):
        assert len(set(folds[groups == group].tolist())) == 1
        assert len(set(held[groups == group].tolist())) == 1


@given(times=st.lists(st.integers(0, 50), min_size=6, max_size=60).map(np.array), num_folds=st.integers(2, 6))
def test_folds_of_times_are_ordered(times, num_folds):
    folds = make_folds(len(times), times=times, num_folds=num_folds)
    for fold in range(1, num_folds):
        assert times[folds == fold].min() >= times[folds == fold - 1].max()
    held = make_holdout(len(times), times=times, share=0.2)
    assert 0 < held.sum() < len(times)
    assert times[held].min() >= times[~held].max()


@given(groups=codes, data=st.data())
def test_time_within_groups_is_ordered_and_something_stays(groups, data):
    times = np.array(data.draw(st.lists(st.integers(0, 50), min_size=len(groups), max_size=len(groups))))
    folds = make_folds(len(groups), groups=groups, times=times)
    for group in set(groups.tolist()):
        own = np.flatnonzero(groups == group)
        order = own[np.argsort(times[own], kind="stable")]
        assert (np.diff(times[order]) >= 0).all()
        if len(own) >= 5:
            assert (np.diff(folds[order]) >= 0).all()
    held = make_holdout(len(groups), groups=groups, times=times)
    assert 0 < held.sum() < len(groups)


def test_groups_of_one_row_are_cut_by_time_together():
    times = np.arange(20)[::-1]
    held = make_holdout(20, groups=np.arange(20), times=times, share=0.1)
    assert np.flatnonzero(held).tolist() == [0, 1]


def test_one_large_group_is_not_the_holdout():
    groups = np.array([0] * 90 + [1] * 5 + [2] * 5)
    assert make_holdout(100, groups=groups, share=0.1).sum() <= 10


def test_group_folds_are_balanced_in_classes():
    draw = np.random.default_rng(0)
    groups = draw.integers(0, 40, 800)
    labels = (groups % 4 == 0).astype(int)
    folds = make_folds(800, labels=labels, groups=groups)
    shares = [labels[folds == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.1


@pytest.mark.parametrize("share", [0.1, 0.15, 0.25, 0.5])
def test_holdout_has_its_share(share):
    labels = np.random.default_rng(0).integers(0, 3, 1000)
    held = make_holdout(1000, labels=labels, share=share)
    assert held.dtype == np.bool_
    assert abs(held.mean() - share) < 0.02
    assert not np.array_equal(held, make_holdout(1000, labels=labels, share=share, seed=1))
