"""Training on a graphics card: a fit from end to end, resuming, and T37 with the card's own memory."""

from __future__ import annotations

import gc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.conftest import QUICK, make_problem, room_rows

import omnifuse
from omnifuse.data.tables import open_table
from omnifuse.errors import MissingDependencyError
from omnifuse.presets import TrainingSpec
from omnifuse.training import loop
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.loop import Trainer

SPEC = TrainingSpec(epochs=4, mixup=0.3, cutmix=0.5)
# Without chance, so that parts learn what the whole batch does
CALM = {"dropout": 0.0, "head_dropout": 0.0, "modality_dropout": 0.0, "shallow": "none"}
MIB = 1 << 20


def train(
    problem, *, place=None, resume=False, stop=None, spec=SPEC, batch_size=8, change=lambda model: None, **changes
):
    """A training from the same first weights each time: its result, its weights and what it remarked."""
    heard = []
    model = problem.network(**{"shallow": "none", **changes})
    change(model)
    trainer = Trainer(model, problem.source(batch_size=batch_size), spec, seed=3, place=place, report=heard.append)
    if stop is not None:
        trainer.halt = SimpleNamespace(is_set=lambda: len(trainer.result.losses) >= stop, save=True)
    result = trainer.run(resume=resume)
    weights = torch.cat([value.detach().flatten().cpu() for value in model.parameters()])
    return result, weights, [item["remark"] for item in heard if item["remark"]]


# A fit


@pytest.fixture(scope="module")
def many_rooms(tmp_path_factory):
    return omnifuse.generate_rooms(tmp_path_factory.mktemp("rooms"), num_train=240, num_test=80)


def fitted(many_rooms, out):
    return omnifuse.fit(many_rooms[0], "event", out=out, **{**QUICK, "epochs": 4})


def test_a_fit_is_loaded_and_answers_on_the_processor(many_rooms, device, tmp_path):
    _, test_table = many_rooms
    first = fitted(many_rooms, tmp_path / "one")
    assert next(first.network.parameters()).device.type == device.type
    answers = first.predict_proba(test_table)
    assert np.isfinite(answers).all()
    loaded = omnifuse.load(tmp_path / "one")
    assert next(loaded.network.parameters()).device.type == "cpu"
    apart = np.abs(loaded.predict_proba(test_table) - answers).max(axis=1)
    # A value that differs in its last bits may fall on the other side of a tree's threshold: few rows, and not far
    assert float((apart > 1e-3).mean()) <= 0.05, apart.max()
    assert apart.max() < 0.02

    again = fitted(many_rooms, tmp_path / "two").predict_proba(test_table)
    classes = list(first.schema.targets[0].classes)
    truth = np.array([classes.index(value) for value in open_table(test_table).cells("event")])
    scores = [float((found.argmax(axis=1) == truth).mean()) for found in (answers, again)]
    assert abs(scores[0] - scores[1]) <= 0.08, scores
    assert float(np.abs(answers - again).mean()) <= 0.05


# Resuming


@pytest.mark.parametrize("kind", ["plain_problem", "media_problem"])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_t31_a_resumed_training_has_the_same_losses(kind, optimiser, device, tmp_path, request):
    problem, spec = request.getfixturevalue(kind), replace(SPEC, optimiser=optimiser)
    whole, weights, _ = train(problem, spec=spec)
    assert np.isfinite(whole.losses).all()
    place = CheckpointFolder(tmp_path)
    with pytest.raises(loop.Halted):
        train(problem, spec=spec, place=place, stop=4)
    assert place.load().facts["step"] == 4
    resumed, found, _ = train(problem, spec=spec, place=place, resume=True)
    assert resumed.losses == pytest.approx(whole.losses, rel=1e-5, abs=1e-5)
    torch.testing.assert_close(found, weights, rtol=1e-3, atol=1e-4)


def test_losses_are_those_of_the_processor(plain_problem, device, monkeypatch):
    """Without chance, the curve of the card follows that of the processor."""
    spec = TrainingSpec(epochs=3)
    found, _, _ = train(plain_problem, spec=spec, **CALM)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted, _, _ = train(plain_problem, spec=spec, **CALM)
    assert found.losses == pytest.approx(wanted.losses, rel=1e-2)
    assert found.losses[0] == pytest.approx(wanted.losses[0], rel=1e-4)


def test_bf16_learns_about_the_same(plain_problem, device):
    losses = []
    for precision in ("fp32", "bf16"):
        model = plain_problem.network(**CALM)
        trainer = Trainer(model, plain_problem.source(), TrainingSpec(epochs=3), seed=3, precision=precision)
        losses.append(trainer.run().losses)
        assert all(bool(value.isfinite().all()) for value in model.parameters())
        assert all(value.dtype == torch.float32 for value in model.parameters())
    assert losses[1] == pytest.approx(losses[0], rel=0.1, abs=0.05)


# T35


def test_t35_a_bad_step_is_left_out(plain_problem, device):
    spec = TrainingSpec(epochs=3)
    bad = plain_problem.source().order(0)[1]

    def spoil(model):
        forward = model.forward

        def spoilt(batch, *more):
            output = forward(batch, *more)
            hit = bool(torch.equal(batch.rows.cpu(), torch.from_numpy(bad)))
            return replace(output, loss=output.loss * float("nan")) if hit else output

        model.forward = spoilt

    result, weights, remarks = train(plain_problem, spec=spec, change=spoil)
    assert [(item.step, item.what) for item in result.bad_steps] == [(1, "loss")]
    assert bool(weights.isfinite().all())
    assert "left out" in remarks[0]


# T37


def free():
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


@pytest.fixture
def limit(card):
    """Lets this process take so many more bytes of the card than it holds now."""
    total = torch.cuda.get_device_properties(card).total_memory

    def set_limit(more):
        free()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(card) + more) / total, card)

    yield set_limit
    torch.cuda.set_per_process_memory_fraction(1.0, card)
    free()


def heavy(each):
    """Each row of a forward holds so many bytes of the card until the gradient has passed."""

    def change(model):
        forward = model.forward

        def held(batch, *more):
            ballast = [torch.empty(batch.size * each, dtype=torch.uint8, device=batch.rows.device)]
            output = forward(batch, *more)
            if torch.is_grad_enabled():
                output.fused.pooled.register_hook(lambda gradient: ballast.clear())
            return output

        model.forward = held

    return change


def test_t37_out_of_memory_halves_the_rows_at_once(plain_problem, limit):
    spec = TrainingSpec(epochs=3)
    whole, expected, _ = train(plain_problem, spec=spec, **CALM)
    free()
    before = torch.cuda.memory_allocated()
    # 8 rows hold 4 GiB and do not fit, 4 rows hold 2 GiB and do
    limit(3 * 1024 * MIB)
    result, weights, remarks = train(plain_problem, spec=spec, change=heavy(512 * MIB), **CALM)
    assert result.rows_at_once == 4
    assert remarks == [
        "out of memory at step 0, so batches are taken in parts of at most 4 rows, with the same mean loss"
    ]
    assert result.losses == pytest.approx(whole.losses, rel=1e-3)
    torch.testing.assert_close(weights, expected, rtol=1e-2, atol=1e-3)
    free()
    assert torch.cuda.memory_allocated() <= before + 4 * MIB


def test_t37_one_row_that_does_not_fit_gives_advice_and_holds_nothing(plain_problem, limit):
    train(plain_problem, spec=TrainingSpec(epochs=1), **CALM)
    free()
    before = torch.cuda.memory_allocated()
    limit(1024 * MIB)
    with pytest.raises(MissingDependencyError, match=r"one row does not fit into the memory .*--preset"):
        train(plain_problem, spec=TrainingSpec(epochs=1), change=heavy(4096 * MIB), **CALM)
    free()
    assert torch.cuda.memory_allocated() <= before + 4 * MIB


def test_t37_pictures_that_do_not_fit_are_taken_in_parts(rooms, limit, tmp_path_factory):
    """Nothing is held on purpose: what a wide network keeps for its gradients is more than the card may give."""
    problem = make_problem(
        room_rows(rooms.train, 64), ["event"], tmp_path_factory.mktemp("wide"), drop=("sound", "note")
    )
    options = {"spec": TrainingSpec(epochs=2), "batch_size": 64, **CALM}
    options |= {"dim": 512, "num_heads": 8, "encoder_depth": 12, "encoders": {"picture": "image-transformer"}}
    torch.cuda.reset_peak_memory_stats()
    free()
    before = torch.cuda.memory_allocated()
    whole, _, _ = train(problem, **options)
    assert whole.rows_at_once is None
    needed = torch.cuda.max_memory_allocated() - before
    free()
    # Weights, gradients, the optimiser's state and the mean of the weights stay, whatever the rows
    model = problem.network(**{name: value for name, value in options.items() if name not in ("spec", "batch_size")})
    fixed = 5 * sum(value.numel() * value.element_size() for value in model.parameters())
    del model
    limit(int(fixed + 0.6 * (needed - fixed)) + 64 * MIB)
    result, _, _ = train(problem, **options)
    assert result.rows_at_once is not None
    assert 1 <= result.rows_at_once <= 32
    assert result.losses == pytest.approx(whole.losses, rel=2e-2)
    free()
    assert torch.cuda.memory_allocated() <= before + 4 * MIB
