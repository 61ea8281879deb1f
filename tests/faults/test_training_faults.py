"""T35: numbers that are not finite in a loss, a gradient or a weight."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from omnifuse.api import members
from omnifuse.errors import OmnifuseError
from omnifuse.presets import TrainingSpec
from omnifuse.training import loop
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.finite import unsound_weights
from omnifuse.training.loggers import make_logger
from omnifuse.training.loop import MAX_BAD_STEPS, Trainer

SPEC = TrainingSpec(epochs=3)
BAD = (float("nan"), float("inf"), float("-inf"))


class Watched(Trainer):
    """A training of 9 steps whose weights are kept after each; `spoil(step, when)` may change anything."""

    def __init__(self, problem, spoil=lambda trainer, step, when: None, *, spec=SPEC, place=None):
        self.heard, self.logged, self.weights, self.rows, self.spoil = [], [], [], [], spoil
        note = SimpleNamespace(log=lambda *item: None, note=lambda *item: self.logged.append(item))
        model, source = problem.network(shallow="none"), problem.source()
        super().__init__(model, source, spec, seed=3, place=place, logger=note, report=self.heard.append)

    def _step(self, fabric, optimiser, batch, step, steps):
        self.rows.append(batch.rows.tolist())
        self.spoil(self, step, "before")
        original = optimiser.step

        def stepped(*more):
            original(*more)
            self.spoil(self, step, "after")

        try:
            optimiser.step = stepped
            super()._step(fabric, optimiser, batch, step, steps)
        finally:
            optimiser.step = original
        self.weights.append(torch.cat([value.detach().flatten() for value in self.model.parameters()]))


@pytest.fixture(scope="module")
def sound(plain_problem):
    trainer = Watched(plain_problem)
    trainer.run()
    return trainer


def check_left_out(trainer, sound, step, what):
    """Found at that step, told with its rows, and nothing learnt from it."""
    (bad,) = trainer.result.bad_steps
    assert (bad.step, bad.what, bad.rows) == (step, what, sound.rows[step])
    words = f"step {step} is left out, its {what} is not finite"
    assert trainer.logged == [(f"{words}: rows {', '.join(map(str, bad.rows))}", step)]
    assert [item["remark"] for item in trainer.heard if item["remark"]] == [f"{words} ({named(bad.rows)})"]
    assert [item["step"] for item in trainer.heard if item["remark"]] == [step + 1]
    assert all(torch.equal(*pair) for pair in zip(trainer.weights[:step], sound.weights[:step], strict=True))
    assert torch.equal(trainer.weights[step], trainer.weights[step - 1])
    assert not torch.equal(trainer.weights[step + 1], trainer.weights[step])
    assert not unsound_weights(trainer.model)
    (note,) = members.training_notes([trainer.result])
    assert f"1 of 9 steps were left out, since their loss or gradient was not finite, the first at step {step}" in note


def named(rows):
    return f"rows {', '.join(map(str, rows))}"


@pytest.mark.parametrize("value", BAD)
def test_t35_a_loss_that_is_not_finite_is_found_at_its_step_and_left_out(plain_problem, sound, value, monkeypatch):
    def spoil(trainer, step, when):
        monkeypatch.setattr(trainer.model.tasks[0], "forward", spoiled if step == 4 else forward)

    trainer = Watched(plain_problem, spoil)
    forward = trainer.model.tasks[0].forward

    def spoiled(*more):
        output = forward(*more)
        return replace(output, loss=output.loss * value)

    trainer.run()
    check_left_out(trainer, sound, 4, "loss")


@pytest.mark.parametrize("value", BAD)
def test_t35_a_gradient_that_is_not_finite_is_found_at_its_step_and_left_out(plain_problem, sound, value):
    seen = []

    def spoil(trainer, step, when):
        if step == 5 and when == "before":
            weight = next(trainer.model.fusion.parameters())
            seen.append(weight.register_hook(lambda gradient: gradient * 0 + value))
        elif seen:
            seen.pop().remove()

    trainer = Watched(plain_problem, spoil)
    trainer.run()
    check_left_out(trainer, sound, 5, "gradient")


@pytest.mark.parametrize("when", ["before", "after"])
def test_t35_a_weight_that_is_not_finite_ends_the_run_at_its_step_and_resume_goes_on(
    plain_problem, sound, tmp_path, monkeypatch, when
):
    monkeypatch.setattr(loop, "CHECKPOINT_S", -1.0)

    def spoil(trainer, step, moment):
        if (step, moment) == (4, when):
            dict(trainer.model.named_parameters())["tasks.0.heads.fused.2.bias"].data[0] = float("nan")

    place = CheckpointFolder(tmp_path)
    trainer = Watched(plain_problem, spoil, place=place)
    with pytest.raises(
        OmnifuseError, match=r"1 weights are not finite at step 4 \(tasks\.0\.heads\.fused\.2\.bias\)"
    ) as e:
        trainer.run()
    assert named(sound.rows[4]) in str(e.value)
    assert "--resume" in str(e.value)
    assert place.load().facts["step"] == 4
    again = Watched(plain_problem, place=place)
    again.run(resume=True)
    assert torch.equal(again.weights[-1], sound.weights[-1])


def test_t35_bad_steps_are_counted_across_a_resume_and_stop_at_last(plain_problem, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_S", -1.0)
    place = CheckpointFolder(tmp_path)

    def run(most, *, resume):
        trainer = Watched(plain_problem, spec=replace(SPEC, epochs=10), place=place)
        trainer.source.targets["price"][:] = float("inf")
        trainer.halt = SimpleNamespace(is_set=lambda: len(trainer.rows) >= most, save=True)
        before = torch.cat([value.detach().flatten() for value in trainer.model.parameters()])
        try:
            trainer.run(resume=resume)
        finally:
            assert torch.equal(trainer.weights[-1], before)
        return trainer

    with pytest.raises(loop.Halted):
        run(15, resume=False)
    assert [step for step, _, _ in place.load().facts["left_out"]] == list(range(15))
    with pytest.raises(
        OmnifuseError, match=rf"not finite in {MAX_BAD_STEPS + 1} steps. last at step 20, rows \d.*--set"
    ):
        run(100, resume=True)


def test_t35_the_rows_of_a_bad_step_stand_in_the_curves(tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    logger = make_logger("tensorboard", tmp_path / "net")
    logger.note("step 3 is left out, its loss is not finite: rows 1, 2", 3)
    logger.close()
    (path,) = (tmp_path / "net").glob("events.out.tfevents.*")
    found = [(event.step, value) for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    assert [step for step, _ in found] == [3]
    assert found[0][1].tensor.string_val == [b"step 3 is left out, its loss is not finite: rows 1, 2"]


@pytest.mark.parametrize("value", BAD)
def test_t35_any_weight_that_is_not_finite_is_named(value):
    model = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.LayerNorm(30))
    assert unsound_weights(model) == []
    with torch.no_grad():
        model[0].weight[29, 17] = value
        model[1].bias[3] = value
    assert unsound_weights(model) == ["0.weight", "1.bias"]
