from __future__ import annotations

import numpy as np
import pytest

from omnifuse.api import partition as module
from omnifuse.api.partition import partition


def made(rows, **more):
    given = {"labels": None, "groups": None, "times": None, "num_members": 3, "seed": 0}
    return partition(np.asarray(rows), **(given | more))


def test_folds_answer_every_row_once_and_never_one_that_was_learnt_from():
    rows = np.arange(3, 103)
    found = made(rows)
    assert len(found.members) == 5
    assert sorted(np.concatenate([member.out for member in found.members])) == rows.tolist()
    for member in found.members:
        assert not set(member.train) & set(member.out)
        assert set(member.train) | set(member.out) == set(rows)
        assert len(member.stop) == 0
    assert sorted(found.report) == sorted(found.calibrate) == rows.tolist()
    for number, member in enumerate(found.members):
        assert (found.fold[member.out] == number).all()
    assert "5-fold out-of-fold answers of 100 rows" in found.words


def test_a_group_is_never_divided():
    groups = np.random.default_rng(0).integers(0, 17, 120)
    members = made(np.arange(120), groups=groups).members
    assert len(members) == 5
    for member in members:
        assert len(member.train) > len(member.out) > 0
        assert not set(groups[member.train]) & set(groups[member.out])


def test_classes_are_spread_over_the_folds():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    members = made(np.arange(100), labels=labels).members
    assert len(members) == 5
    for member in members:
        assert np.bincount(labels[member.out]).tolist() == [12, 6, 2]


def test_with_times_no_row_is_answered_by_a_member_that_learnt_from_later_rows():
    times = np.random.default_rng(0).permutation(200).astype(float)
    found = made(np.arange(200), times=times)
    assert found.fold is None
    for member in found.members:
        assert times[member.train].max() < times[member.stop].min()
    assert times[np.concatenate([found.members[0].stop, found.calibrate])].max() < times[found.report].min()


def test_above_the_limit_the_report_rows_are_the_latest(monkeypatch):
    monkeypatch.setattr(module, "SMALL_TABLE_ROWS", 100)
    times = np.random.default_rng(0).permutation(400).astype(float)
    found = made(np.arange(400), times=times)
    held = np.concatenate([found.members[0].stop, found.calibrate])
    assert times[found.members[0].train].max() < times[held].min()
    assert times[held].max() < times[found.report].min()


def test_above_the_limit_the_cuts_are_apart(monkeypatch):
    monkeypatch.setattr(module, "SMALL_TABLE_ROWS", 100)
    rows = np.arange(5, 405)
    labels = np.random.default_rng(0).integers(0, 3, 500)
    found = made(rows, labels=labels)
    assert found.fold is None
    assert len(found.members) == 3
    first = found.members[0]
    parts = [first.train, first.stop, found.calibrate, found.report]
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    assert len(found.report) == pytest.approx(60, abs=4)
    assert all(len(part) > 0 for part in parts)
    for member in found.members[1:]:
        assert np.array_equal(member.train, first.train)


def test_above_the_limit_groups_stay_whole_between_learning_and_reporting(monkeypatch):
    monkeypatch.setattr(module, "SMALL_TABLE_ROWS", 100)
    groups = np.random.default_rng(1).integers(0, 40, 400)
    found = made(np.arange(400), groups=groups)
    learnt = set(groups[found.members[0].train])
    held = np.concatenate([found.members[0].stop, found.calibrate, found.report])
    assert not learnt & set(groups[held])
    assert not set(groups[found.calibrate]) & set(groups[found.report])


def test_a_seed_gives_one_division():
    one, same, other = (made(np.arange(60), seed=seed).members[0].out.tolist() for seed in (0, 0, 1))
    assert one == same
    assert one != other
