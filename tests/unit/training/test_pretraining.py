"""The learner of a pretraining: its loss over parts of a batch, what it leaves alone, and its teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from omnifuse.training.batches import make_batch
from omnifuse.training.mean_teacher import MOMENTUM, MeanTeacher
from omnifuse.training.pretraining import ID, RECIPES, Pretrainer, Pretraining, code_name, second_view

ROWS = np.arange(16)


def learner_of(problem, recipe, *, at_once=100, pairs=(("picture", "sound"), ("picture", "note"))):
    model = problem.network(space=24, dropout=0.0, shallow="none")
    views = ("picture", "sound") if recipe in ("masked", "all") else ()
    torch.manual_seed(1)
    learner = Pretrainer(model, Pretraining(recipe, pairs, views), num_heads=2, rows_at_once=at_once)
    learner.generator = torch.Generator()
    return learner


def batch_of(problem, learner, rows=ROWS):
    packs = dict(problem.prepared.packs)
    packs |= {second_view(name): packs[name] for name in learner.plan.views}
    return make_batch(packs, rows, targets={code_name(ID): torch.arange(16) // 2})


def step(learner, batch):
    learner.generator.manual_seed(3)
    learner.zero_grad()
    output = learner(batch)
    output.loss.backward()
    return output, {name: value.grad for name, value in learner.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_a_finite_loss_and_moves_encoders(media_problem, recipe):
    learner = learner_of(media_problem, recipe)
    output, gradients = step(learner, batch_of(media_problem, learner))
    assert set(output.parts) == set(RECIPES[recipe])
    parts = sum(float(part.detach()) for part in output.parts.values())
    assert float(output.loss.detach()) == pytest.approx(parts, rel=1e-5)
    assert all(bool(value.isfinite().all()) for value in gradients.values())
    assert any(name.startswith("model.encoders") and bool(value.any()) for name, value in gradients.items())
    assert not any(name.startswith(("model.fusion", "teacher")) for name in gradients)


@pytest.mark.parametrize("recipe", ["contrastive", "matching", "sigmoid"])
def test_a_batch_in_parts_is_the_whole_batch(media_problem, recipe):
    whole, parts = learner_of(media_problem, recipe), learner_of(media_problem, recipe, at_once=5)
    wanted, found = (step(learner, batch_of(media_problem, learner)) for learner in (whole, parts))
    assert float(found[0].loss.detach()) == pytest.approx(float(wanted[0].loss.detach()), rel=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, value in found[1].items():
        torch.testing.assert_close(value, wanted[1][name], rtol=1e-3, atol=2e-5)


def test_rows_of_one_id_are_partners(media_problem):
    learner = learner_of(media_problem, "contrastive")
    batch = batch_of(media_problem, learner)
    alone = replace(batch, targets={code_name(ID): torch.arange(16)})
    assert learner(batch).loss.item() != learner(alone).loss.item()
    nothing_left = replace(batch, targets={code_name(ID): torch.zeros(16, dtype=torch.int64)})
    assert bool(learner(nothing_left).loss.isfinite())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_batch_of_one_row_teaches_no_comparison(media_problem, recipe):
    learner = learner_of(media_problem, recipe)
    output, gradients = step(learner, batch_of(media_problem, learner, ROWS[:1]))
    for name, part in output.parts.items():
        assert name == "masked" or part.item() == 0.0
    assert all(bool(value.isfinite().all()) for value in gradients.values())


def test_the_teacher_follows_and_is_never_trained(media_problem):
    learner = learner_of(media_problem, "masked")
    teacher, student = learner.teacher.network, learner.model
    learner.train()
    assert not any(module.training for module in learner.teacher.modules())
    with torch.no_grad():
        student.projectors.field_embeddings.add_(1.0)
    before = teacher.projectors.field_embeddings.clone()
    learner.after_step()
    torch.testing.assert_close(teacher.projectors.field_embeddings, before + 0.9)
    assert not any(weight.requires_grad for weight in learner.teacher.parameters())


def test_the_teacher_ends_at_its_momentum():
    student = torch.nn.Linear(1, 1)
    teacher = MeanTeacher(student)
    teacher.steps.fill_(100_000)
    with torch.no_grad():
        student.weight.add_(1.0)
    before = teacher.network.weight.clone()
    teacher.follow(student)
    torch.testing.assert_close(teacher.network.weight, before + (1 - MOMENTUM), rtol=0, atol=1e-6)
