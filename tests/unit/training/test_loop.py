from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from omnifuse.errors import ArtefactError
from omnifuse.presets import TrainingSpec
from omnifuse.training import loop
from omnifuse.training.balancing import make_balancing
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.loop import Trainer

SPEC = TrainingSpec(epochs=4, learning_rate=1e-3, mixup=0.3)


class StoppedError(Exception):
    """Stands for a crash."""


def stop_at(step):
    def report(data):
        if data["step"] == step:
            raise StoppedError

    return report


def train(problem, place=None, *, resume=False, report=None, spec=SPEC, judge=None, **changes):
    model = problem.network(**changes)
    trainer = Trainer(model, problem.source(), spec, seed=3, place=place, report=report, judge=judge)
    result = trainer.run(resume=resume)
    return {name: value.clone() for name, value in model.state_dict().items()}, result


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(plain_problem):
    return train(plain_problem)


@pytest.fixture
def each_step(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_S", -1.0)


def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(plain_problem, whole):
    again, _ = train(plain_problem)
    other, _ = train(plain_problem, seed=1)
    assert same(again, whole[0])
    assert not same(other, whole[0])


@pytest.mark.parametrize("step", [1, 5, 11])
def test_resume_after_a_crash_equals_the_uninterrupted_run_to_the_bit(plain_problem, whole, tmp_path, each_step, step):
    place = CheckpointFolder(tmp_path)
    with pytest.raises(StoppedError):
        train(plain_problem, place, report=stop_at(step))
    if step > 1:
        assert place.load().facts["step"] == step - 1
    weights, result = train(plain_problem, place, resume=True)
    assert same(weights, whole[0])
    assert result.losses == whole[1].losses
    assert result.steps == whole[1].steps == 12


def test_resume_with_muon_stochastic_depth_and_sampling_equals_the_uninterrupted_run(
    plain_problem, tmp_path, each_step
):
    spec = replace(SPEC, optimiser="muon")
    weights = np.linspace(0.2, 1.8, len(plain_problem.prepared.rows))

    def run(place=None, **more):
        model = plain_problem.network(stochastic_depth=0.5)
        source = plain_problem.source(weights=weights)
        trainer = Trainer(model, source, spec, seed=3, place=place, report=more.get("report"))
        trainer.run(resume=more.get("resume", False))
        return {name: value.clone() for name, value in model.state_dict().items()}

    expected = run()
    place = CheckpointFolder(tmp_path)
    with pytest.raises(StoppedError):
        run(place, report=stop_at(7))
    assert same(run(place, resume=True), expected)
    assert not same(expected, train(plain_problem, spec=spec)[0])


@pytest.mark.parametrize("name", ["uncertainty", "gradnorm"])
def test_resume_with_balanced_losses_equals_the_uninterrupted_run(plain_problem, tmp_path, each_step, name):
    spec = replace(SPEC, balancing=name)

    def run(place=None, *, stop=None, resume=False):
        model = plain_problem.network(shallow="none")
        report = None if stop is None else stop_at(stop)
        trainer = Trainer(model, plain_problem.source(), spec, seed=3, place=place, report=report)
        result = trainer.run(resume=resume)
        return dict(model.state_dict()), result, trainer.balancing.state()

    weights, result, state = run()
    place = CheckpointFolder(tmp_path)
    with pytest.raises(StoppedError):
        run(place, stop=7)
    assert place.load().facts["balancing"] != state
    resumed = run(place, resume=True)
    assert same(resumed[0], weights)
    assert resumed[1].losses == result.losses
    assert resumed[1].weights == result.weights
    assert [step for step, _ in result.weights] == [0, 10]
    assert resumed[2] == state
    # It is the learnt weights that make it so
    with pytest.raises(StoppedError):
        run(place, stop=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(make_balancing(name, ["kind", "price"])), "load", lambda self, state: None)
        assert not same(run(place, resume=True)[0], weights)


def test_resume_with_another_optimiser_or_sampling_is_refused(plain_problem, tmp_path):
    place = CheckpointFolder(tmp_path)
    train(plain_problem, place)
    with pytest.raises(ArtefactError, match=r"another table.*optimiser or sampling"):
        train(plain_problem, place, resume=True, spec=replace(SPEC, optimiser="muon"))
    source = plain_problem.source(weights=np.ones(len(plain_problem.prepared.rows)))
    with pytest.raises(ArtefactError, match=r"another table.*optimiser or sampling"):
        Trainer(plain_problem.network(), source, SPEC, seed=3, place=place).run(resume=True)


def test_resume_of_a_finished_run_trains_nothing_and_gives_the_same(plain_problem, whole, tmp_path):
    place = CheckpointFolder(tmp_path)
    train(plain_problem, place)
    weights, result = train(plain_problem, place, resume=True, report=stop_at(12))
    assert same(weights, whole[0])
    assert result.losses == whole[1].losses


def test_resume_keeps_the_best_weights_that_a_judge_chose(plain_problem, tmp_path, each_step):
    scores = dict(zip(range(1, 13), [1, 2, 9, 3, 4, 5, 6, 5, 4, 3, 2, 1], strict=True))

    def judge_from(start):
        steps = iter(range(start, 13))
        return lambda model: float(scores[next(steps)])

    expected, first = train(plain_problem, judge=judge_from(1))
    place = CheckpointFolder(tmp_path)
    with pytest.raises(StoppedError):
        train(plain_problem, place, judge=judge_from(1), report=stop_at(7))
    weights, second = train(plain_problem, place, resume=True, judge=judge_from(7))
    assert same(weights, expected)
    assert first.scores == second.scores


def test_patience_ends_a_run_early_and_the_best_weights_stay(plain_problem):
    count = iter(range(100))
    _, result = train(plain_problem, judge=lambda model: -float(next(count)))
    assert result.steps == 9
    assert len(result.losses) == 9


def test_t28_damaged_newest_checkpoint_falls_back_and_the_end_is_the_same(plain_problem, whole, tmp_path, each_step):
    place = CheckpointFolder(tmp_path)
    with pytest.raises(StoppedError):
        train(plain_problem, place, report=stop_at(8))
    newest = max(("a", "b"), key=lambda slot: place._facts(slot)["number"])
    content = bytearray((tmp_path / f"{newest}.safetensors").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / f"{newest}.safetensors").write_bytes(content)
    assert place.load().facts["step"] == 6
    assert same(train(plain_problem, place, resume=True)[0], whole[0])


def test_a_fresh_run_forgets_the_checkpoints_of_an_older_one(plain_problem, tmp_path):
    place = CheckpointFolder(tmp_path)
    train(plain_problem, place)
    with pytest.raises(StoppedError):
        train(plain_problem, place, report=stop_at(1))
    assert place.load() is None


def test_t29_resume_with_another_architecture_names_the_keys(plain_problem, tmp_path):
    place = CheckpointFolder(tmp_path)
    train(plain_problem, place)
    with pytest.raises(ArtefactError, match=r"checkpoint belongs to another .*fusion\."):
        train(plain_problem, place, resume=True, fusion="sum")


def test_a_time_limit_becomes_a_number_of_steps(plain_problem):
    model = plain_problem.network()
    trainer = Trainer(model, plain_problem.source(), replace(SPEC, epochs=10_000), seed=0)
    result = trainer.run(seconds=0.6)
    assert 6 < result.steps < 30_000
    assert len(result.losses) == result.steps
    assert result.epochs == pytest.approx(result.steps / 3)


def test_the_report_hears_of_each_step(plain_problem):
    heard = []
    train(plain_problem, report=heard.append)
    assert [item["step"] for item in heard] == list(range(1, 13))
    assert [item["done"] for item in heard] == [False] * 11 + [True]
    assert {item["steps"] for item in heard} == {12}
    assert np.isfinite([item["loss"] for item in heard]).all()
    assert heard[-1]["fraction"] == 1.0


def test_resume_with_other_rows_or_seed_is_refused(plain_problem, tmp_path):
    place = CheckpointFolder(tmp_path)
    train(plain_problem, place)
    trainer = Trainer(plain_problem.network(), plain_problem.source(seed=1), SPEC, seed=3, place=place)
    with pytest.raises(ArtefactError, match="another table, seed, batch size"):
        trainer.run(resume=True)
