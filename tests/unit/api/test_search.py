from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import ONE_LABEL, QUICK, make_problem, plain_rows

import omnifuse
from omnifuse.api import search as module
from omnifuse.api.options import FitOptions
from omnifuse.api.partition import partition
from omnifuse.api.search import Search
from omnifuse.api.search_rows import search_rows
from omnifuse.api.search_space import search_space, starting_point
from omnifuse.api.unseen import skill, unseen_scores
from omnifuse.errors import ArtefactError, InputError, MissingDependencyError, OmnifuseError
from omnifuse.presets import PRESETS, with_settings

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    return make_problem(plain_rows(40), ["kind"], tmp_path_factory.mktemp("search"), **ONE_LABEL)


def parts_of(prepared, num_rows=None):
    rows = prepared.rows[:num_rows]
    return partition(rows, labels=prepared.targets["kind"], groups=None, times=None, num_members=3, seed=0)


def searched(problem, out, *, trials, scores=None, resume=False, seed=0, monkeypatch):
    """A search whose trials score what they are told."""
    told = iter(scores or [])
    if scores is not None:
        monkeypatch.setattr(Search, "_score", lambda self, trial, settings, deadline: next(told)(trial))
    monkeypatch.setattr(module, "MAX_TRIALS", trials)
    heard = []
    options = FitOptions(("kind",), out, search=1.0, epochs=4, seed=seed, resume=resume)
    members = search_rows(problem.prepared, parts_of(problem.prepared), seed=0, scored_elsewhere=False)
    search = Search(problem.prepared, members, TINY, options=options, listen=lambda kind, data: heard.append(data))
    return search.run(), heard


def gives(value):
    return lambda trial: value


def raises(error):
    def score(trial):
        raise error

    return score


# Space


def test_every_setting_of_the_space_can_be_typed_and_the_preset_lies_inside():
    for preset in PRESETS.values():
        space = search_space(preset, fixed=(), num_inputs=2)
        point = starting_point(preset, space)
        for item in space:
            ends = item.choices or (item.low, item.high)
            for value in (*ends, point[item.name]):
                with_settings(preset, {item.name: str(value)})
        own = with_settings(preset, {name: str(value) for name, value in point.items()})
        assert own == preset


def test_what_the_user_chose_is_left_alone_and_one_input_has_nothing_to_fuse():
    names = {item.name for item in search_space(TINY, fixed={"dropout", "dim"}, num_inputs=1)}
    everything = {item.name for item in search_space(TINY, fixed=(), num_inputs=2)}
    assert everything - names == {"dropout", "dim", "fusion", "modality_dropout"}


# Rows


def test_trials_never_see_the_rows_that_the_report_scores(problem):
    parts = parts_of(problem.prepared).narrowed()
    members = search_rows(problem.prepared, parts, seed=0, scored_elsewhere=False)
    assert len(members) == 2
    assert np.array_equal(parts.report, parts.members[-1].out)
    assert "did not see" in parts.words
    for item in members:
        seen = {*item.train.tolist(), *item.out.tolist(), *item.stop.tolist()}
        assert not seen & set(parts.report.tolist())
        assert not set(item.train.tolist()) & set(item.out.tolist())
    elsewhere = search_rows(problem.prepared, parts_of(problem.prepared), seed=0, scored_elsewhere=True)
    assert {*elsewhere[0].train.tolist(), *elsewhere[0].out.tolist()} == set(problem.prepared.rows.tolist())


def test_with_separate_cuts_trials_are_scored_on_the_stopping_rows(problem):
    prepared = replace(problem.prepared, times=np.arange(40.0))
    parts = partition(prepared.rows, labels=None, groups=None, times=prepared.times, num_members=3, seed=0)
    for item in search_rows(prepared, parts.narrowed(), seed=0, scored_elsewhere=False):
        assert np.array_equal(item.out, parts.members[0].stop)
        assert len(item.stop) == 0
        assert not set(item.train.tolist()) & set(parts.report.tolist())


# Scores


def test_skill_is_0_for_the_prior_and_1_for_the_truth(problem):
    prepared, rows = problem.prepared, problem.prepared.rows
    truth = prepared.targets["kind"][rows]
    shares = (np.bincount(truth) + 0.5) / (len(truth) + 1)
    assert skill(prepared, {"kind": np.tile(shares, (len(rows), 1))}, learnt=rows, rows=rows) == pytest.approx(0.0)
    assert skill(prepared, {"kind": np.eye(2)[truth]}, learnt=rows, rows=rows) == pytest.approx(1.0, abs=1e-4)
    assert skill(prepared, {"kind": np.eye(2)[1 - truth]}, learnt=rows, rows=rows) < -1


def test_skill_of_numbers_is_r2_and_of_several_labels_the_mean(plain_problem):
    prepared, rows = plain_problem.prepared, plain_problem.prepared.rows
    price, kind = prepared.targets["price"][rows], prepared.targets["kind"][rows]
    scores = {
        "price": np.full(len(rows), np.nanmean(price)),
        "kind": np.eye(2)[np.maximum(kind, 0)],
        "tags": np.nan_to_num(prepared.targets["tags"][rows]),
    }
    assert skill(prepared, scores, learnt=rows, rows=rows) == pytest.approx(2 / 3, abs=1e-4)


def test_a_half_is_calibrated_on_the_other(problem):
    network = problem.network().eval()
    rows = problem.prepared.rows
    scores = unseen_scores(problem.prepared, network, learnt=rows[:20], rows=rows[20:], seed=0)["kind"]
    assert scores.shape == (20, 2)
    assert scores.sum(axis=1) == pytest.approx(np.ones(20))


# Trials


def test_the_best_trial_wins_failures_and_pruned_ones_are_told(problem, tmp_path, monkeypatch):
    import optuna

    scores = [gives(0.1), gives(0.4), raises(optuna.TrialPruned()), raises(OmnifuseError("no luck")), gives(0.3)]
    result, heard = searched(problem, tmp_path, trials=5, scores=scores, monkeypatch=monkeypatch)
    assert [item["state"] for item in result.trials] == ["done", "done", "pruned", "failed", "done"]
    assert result.score == 0.4
    assert result.settings == result.trials[1]["settings"]
    first = with_settings(TINY, result.trials[0]["settings"])
    assert (first.model, first.training) == (TINY.model, TINY.training)
    assert result.passes == 1
    json.dumps(result.to_json())
    told = [item["text"] for item in heard]
    assert "trial 3: failed: no luck" in told[4]
    assert (tmp_path / "search" / "search.db").exists()


def test_without_one_ended_trial_the_preset_stays(problem, tmp_path, monkeypatch):
    result, _ = searched(problem, tmp_path, trials=2, scores=[raises(OmnifuseError("x"))] * 2, monkeypatch=monkeypatch)
    assert (result.settings, result.score) == ({}, None)


def test_a_resumed_search_draws_what_an_uninterrupted_one_draws(problem, tmp_path, monkeypatch):
    values = [gives(value) for value in (0.1, 0.5, 0.2, 0.6, 0.3, 0.4)]
    whole, _ = searched(problem, tmp_path / "a", trials=6, scores=values, monkeypatch=monkeypatch)
    other, _ = searched(problem, tmp_path / "b", trials=6, scores=values, seed=1, monkeypatch=monkeypatch)
    stop = [*values[:3], raises(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        searched(problem, tmp_path / "c", trials=6, scores=stop, monkeypatch=monkeypatch)
    late, _ = searched(problem, tmp_path / "c", trials=7, scores=values[3:], resume=True, monkeypatch=monkeypatch)
    settings = [item["settings"] for item in whole.trials]
    assert [item["settings"] for item in late.trials][:3] == settings[:3]
    assert late.trials[3]["state"] == "failed"  # the one that was cut off
    assert len(late.trials) == 7
    assert [item["settings"] for item in other.trials][1:] != settings[1:]
    with pytest.raises(ArtefactError, match="search belongs to another table, seed"):
        searched(problem, tmp_path / "c", trials=7, scores=values, seed=5, resume=True, monkeypatch=monkeypatch)
    fresh, _ = searched(problem, tmp_path / "c", trials=1, scores=values, seed=5, monkeypatch=monkeypatch)
    assert len(fresh.trials) == 1


def test_trials_below_the_median_are_pruned_and_the_minutes_cut_one_off(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE_TRIALS", 1)
    levels = iter([0.0, -1.0])

    def judge_on(prepared, schema, stop, train):
        level = next(levels)
        return lambda model: level

    monkeypatch.setattr(module, "judge_on", judge_on)
    monkeypatch.setattr(module, "NUM_MEMBERS", 1, raising=False)
    members = search_rows(problem.prepared, parts_of(problem.prepared), seed=0, scored_elsewhere=False)[:1]
    options = FitOptions(("kind",), tmp_path, search=1.0, epochs=4)
    monkeypatch.setattr(module, "MAX_TRIALS", 2)
    search = Search(problem.prepared, members, TINY, options=options, listen=lambda kind, data: None)
    result = search.run()
    assert [item["state"] for item in result.trials] == ["done", "pruned"]
    trainer = type("Trainer", (), {"model": None})()
    levels = iter([0.0])
    late = search._rungs(None, trainer, 0, members[0], 0.0)
    with pytest.raises(module.OutOfTimeError):
        late({"fraction": 0.1})


# A whole fit


def test_a_fit_with_a_search_trains_and_tells_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_TRIALS", 2)
    model = omnifuse.fit(plain_rows(40), "kind", out=tmp_path / "run", search=5.0, **(QUICK | ONE_LABEL),
                         settings={"batch_size": "16"})  # fmt: skip
    found = model.manifest["search"]
    assert found["num_trials"] == len(found["trials"]) == 2
    assert found["score"] == max(item["score"] for item in found["trials"] if item["score"] is not None)
    used = {**model.manifest["spec"], **model.manifest["training"]}
    for name, value in found["settings"].items():
        assert str(used[name]) == value or float(used[name]) == pytest.approx(float(value))
    assert used["batch_size"] == 16
    assert model.metrics["rows"] == 8
    assert "one fold, which the search" in model.manifest["data"]["scored_on"]
    page = (tmp_path / "run/report/report.html").read_text()
    assert "How the settings were found" in page
    assert "2 settings were tried with 1 passes each, on rows that this report does not score" in page
    assert omnifuse.load(tmp_path / "run").manifest["search"] == found
    again = omnifuse.fit(plain_rows(40), "kind", out=tmp_path / "run", search=5.0, **(QUICK | ONE_LABEL), resume=True,
                         settings={"batch_size": "16"})  # fmt: skip
    assert again.manifest["search"] == found


def test_without_optuna_the_line_to_type_is_said(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "optuna" else find(name))
    with pytest.raises(MissingDependencyError, match=r'needs optuna.*pip install "omnifuse\[search\]"') as caught:
        omnifuse.fit("absent.csv", "kind", out=tmp_path / "run", search=1.0)
    assert caught.value.exit_code == 3


def test_minutes_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"--search is 0"):
        omnifuse.fit(plain_rows(20), "kind", out=tmp_path / "run", search=0.0)
