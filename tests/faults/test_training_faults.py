"""T35, T37: numbers that are not finite in a loss, a gradient or a weight; a device that runs out of memory."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from omnifuse.api import member, members
from omnifuse.errors import MissingDependencyError, OmnifuseError
from omnifuse.presets import TrainingSpec
from omnifuse.training import loop
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.finite import unsound_weights
from omnifuse.training.loggers import make_logger
from omnifuse.training.loop import MAX_BAD_STEPS, Trainer
from omnifuse.training.predict import run_subsets
from omnifuse.training.result import rows_words

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
    assert [item["remark"] for item in trainer.heard if item["remark"]] == [f"{words} ({rows_words(bad.rows)})"]
    assert [item["step"] for item in trainer.heard if item["remark"]] == [step + 1]
    assert all(torch.equal(*pair) for pair in zip(trainer.weights[:step], sound.weights[:step], strict=True))
    assert torch.equal(trainer.weights[step], trainer.weights[step - 1])
    assert not torch.equal(trainer.weights[step + 1], trainer.weights[step])
    assert not unsound_weights(trainer.model)
    (note,) = members.training_notes([trainer.result])
    assert f"1 of 9 steps were left out, since their loss or gradient was not finite, the first at step {step}" in note


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
    assert rows_words(sound.rows[4]) in str(e.value)
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


# T37

# Without chance, so that parts learn what the whole batch does
CALM = {"dropout": 0.0, "head_dropout": 0.0, "modality_dropout": 0.0, "shallow": "none"}


class SmallDevice:
    """Refuses forwards, or gradients, of more rows than it holds; knows whether its tensors are let go of."""

    def __init__(self, rows, *, backward=False):
        self.rows, self.backward, self.refs, self.refused = rows, backward, [], []

    def limit(self, module, method, size):
        forward = getattr(module, method)

        def limited(*arguments):
            count = size(*arguments)
            held = torch.zeros(1000)
            self.refs.append(weakref.ref(held))
            if count > self.rows and not self.backward:
                self.refuse(count)
            output = forward(*arguments)
            if count > self.rows and torch.is_grad_enabled():
                self.refs.append(weakref.ref(output.fused.pooled))
                output.fused.pooled.register_hook(lambda gradient, held=held: self.refuse(count))
            return output

        setattr(module, method, limited)

    def refuse(self, count):
        self.refused.append(count)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def is_empty(self):
        gc.collect()
        return all(ref() is None for ref in self.refs)


def train_on(problem, device=None, *, place=None, resume=False, spec=SPEC, stop=None, judge=None, **changes):
    heard = []
    model = problem.network(**(CALM | changes))
    if device is not None:
        device.limit(model, "forward", lambda batch, *more: batch.size)
    trainer = Trainer(model, problem.source(), spec, seed=3, place=place, report=heard.append, judge=judge)
    if stop is not None:
        trainer.halt = SimpleNamespace(is_set=lambda: len(trainer.result.losses) >= stop, save=True)
    result = trainer.run(resume=resume)
    weights = torch.cat([value.detach().flatten() for value in model.parameters()])
    return weights, result, [item["remark"] for item in heard if item["remark"]]


@pytest.mark.parametrize("backward", [False, True])
def test_t37_out_of_memory_halves_what_is_taken_at_once_and_learns_the_same(plain_problem, backward):
    device = SmallDevice(3, backward=backward)
    expected, whole, _ = train_on(plain_problem)
    weights, result, remarks = train_on(plain_problem, device)
    assert device.refused == [8, 4]
    assert device.is_empty()
    assert result.rows_at_once == 2
    assert remarks == [
        "out of memory at step 0, so batches are taken in parts of at most 2 rows, with the same mean loss"
    ]
    assert members.training_notes([result]) == [
        "Network 1: the device ran out of memory, so batches are taken in parts of at most 2 rows, with the same mean "
        "loss."
    ]
    assert result.losses == pytest.approx(whole.losses, rel=1e-3)
    torch.testing.assert_close(weights, expected, rtol=1e-2, atol=1e-4)
    assert (whole.rows_at_once, result.bad_steps) == (None, [])


def test_t37_resume_keeps_the_parts_and_equals_the_uninterrupted_run(plain_problem, tmp_path):
    options = {"spec": replace(SPEC, mixup=0.3), "dropout": 0.2, "modality_dropout": 0.2}
    expected, _, _ = train_on(plain_problem, SmallDevice(4), **options)
    place = CheckpointFolder(tmp_path)
    with pytest.raises(loop.Halted):
        train_on(plain_problem, SmallDevice(4), place=place, stop=4, **options)
    device = SmallDevice(4)
    weights, result, remarks = train_on(plain_problem, device, place=place, resume=True, **options)
    assert torch.equal(weights, expected)
    assert (device.refused, remarks, result.rows_at_once) == ([], [], 4)


def test_t37_one_row_that_does_not_fit_gives_advice_and_holds_nothing(plain_problem, tmp_path):
    device = SmallDevice(0)
    with pytest.raises(
        MissingDependencyError, match=r"one row does not fit into the memory .*--preset.*--set"
    ) as caught:
        train_on(plain_problem, device)
    assert device.refused == [8, 4, 2, 1]
    assert caught.value.exit_code == 3
    assert caught.value.__context__ is None
    assert device.is_empty()


def test_t37_scores_and_answers_are_the_same_from_fewer_rows_at_once(plain_problem):
    prepared = plain_problem.prepared
    model = plain_problem.network(**CALM).eval()
    subset, rows = model.fields, prepared.rows[5:]
    judge = member.judge_on(prepared, prepared.schema, rows, prepared.rows)
    score, expected = judge(model), run_subsets([model], prepared.packs, rows, [subset])[subset]
    device = SmallDevice(5)
    device.limit(model, "encode", lambda batch: batch.size)
    # Rows without a label weigh the means of the parts a little differently
    assert judge(model) == pytest.approx(score, rel=1e-2)
    found = run_subsets([model], prepared.packs, rows, [subset])[subset]
    assert device.refused == [19, 10] * 2
    assert device.is_empty()
    for name, values in expected.fused.items():
        np.testing.assert_allclose(found.fused[name], values, rtol=1e-4, atol=1e-5)


def test_t37_out_of_memory_elsewhere_is_one_line(monkeypatch, capsys):
    from omnifuse.cli import main

    def full(*, args, standalone_mode):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(main, "app", full)
    with pytest.raises(SystemExit) as end:
        main.run(["list"])
    assert end.value.code == 3
    assert capsys.readouterr().err == (
        "omnifuse: error: out of memory. Give a smaller --preset, or fewer rows at a time.\n"
    )
