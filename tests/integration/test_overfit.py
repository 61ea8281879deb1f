"""A network that cannot learn one batch by heart is broken: every task and every fusion must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import LABELS, Problem, make_problem

from omnifuse.data.worlds import World, WorldField, generate_world
from omnifuse.encoders.registry import ENCODERS
from omnifuse.fusion import FUSIONS
from omnifuse.layers import POOLINGS
from omnifuse.presets import TrainingSpec
from omnifuse.schema import Modality
from omnifuse.tasks import TASKS
from omnifuse.training.batches import make_batch
from omnifuse.training.loop import Trainer

SPEC = TrainingSpec(learning_rate=5e-3, weight_decay=0.0, mixup=0.0, augment=0.0, averaging=0.0, warm_up=0.05)
EXACT = {"dropout": 0.0, "head_dropout": 0.0, "modality_dropout": 0.0, "label_smoothing": 0.0}


def overfit(problem: Problem, steps: int, **changes):
    """Train on all rows as one batch; the losses and the outputs at the end."""
    model = problem.network(**(EXACT | changes))
    source = problem.source(batch_size=1000)
    result = Trainer(model, source, replace(SPEC, epochs=steps), seed=0).run()
    rows = problem.prepared.rows
    with torch.inference_mode():
        output = model(make_batch(problem.prepared.packs, rows, targets=source.targets))
    return result, output, {name: values[rows] for name, values in source.targets.items()}


def only(problem: Problem, target: str) -> Problem:
    """The same table with one target; rows without its label stay and are not learnt from."""
    schema = problem.prepared.schema
    kept = tuple(item for item in schema.targets if item.name == target)
    return replace(problem, prepared=replace(problem.prepared, schema=replace(schema, targets=kept)))


def right(output, targets) -> None:
    """Every known label is answered exactly (numbers to 0.1 deviations)."""
    if "kind" in targets:
        known = targets["kind"] >= 0
        assert 0 < known.sum() < len(known)
        assert torch.equal(output.targets["kind"].fused.argmax(dim=1)[known], targets["kind"][known])
    if "tags" in targets:
        known = ~targets["tags"].isnan().any(dim=1)
        assert 0 < known.sum() < len(known)
        assert torch.equal(output.targets["tags"].fused[known] > 0, targets["tags"][known] > 0.5)
    if "price" in targets:
        known = ~targets["price"].isnan()
        assert 0 < known.sum() < len(known)
        assert (output.targets["price"].fused[known, 0] - targets["price"][known]).abs().max() < 0.1


def test_the_tables_hold_every_kind_of_task():
    assert {*LABELS.values(), "ordinal"} == {kind.value for kind in TASKS}


def test_levels_are_learnt_by_heart(level_problem):
    result, output, targets = overfit(level_problem, 80, auxiliary=0.0)
    # A middle level is only as sure as its thresholds are far apart, and these move slowly
    assert result.losses[-1] < 0.4
    assert result.losses[0] > 0.5
    assert torch.equal(output.targets["level"].fused.argmax(dim=1), targets["level"])


@pytest.mark.parametrize("name", list(LABELS))
def test_each_task_learns_one_batch_by_heart_in_spite_of_missing_labels(plain_problem, name):
    result, output, targets = overfit(only(plain_problem, name), 80, auxiliary=0.0)
    assert result.losses[-1] < 0.01
    assert result.losses[0] > 0.2
    right(output, {name: targets[name]})


def test_several_targets_at_once_with_missing_labels(plain_problem):
    result, output, targets = overfit(plain_problem, 90, auxiliary=0.0)
    assert result.losses[-1] < 0.03
    right(output, targets)


@pytest.mark.parametrize("name", list(FUSIONS))
def test_each_fusion_learns_one_batch_of_media_by_heart(media_problem, name):
    result, output, targets = overfit(media_problem, 36, fusion=name, auxiliary=0.0)
    assert result.losses[-1] < 0.05
    assert torch.equal(output.targets["event"].fused.argmax(dim=1), targets["event"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"gated": True},
        {"shared_trunk": 1},
        {"alignment": 0.1},
        {"auxiliary": 0.5},
        *({"auxiliary": 0.5, "pooling": name} for name in POOLINGS),
    ],
    ids=str,
)
def test_each_variant_learns_one_batch_by_heart(media_problem, changes):
    result, output, targets = overfit(media_problem, 120, **changes)
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert torch.equal(output.targets["event"].fused.argmax(dim=1), targets["event"])


@pytest.fixture(scope="module")
def every_modality(tmp_path_factory) -> Problem:
    """16 rows of a generated world with a field of every modality, and the odd or even label of two hidden bits."""
    names = ("picture", "sound", "clip", "note", "series", "number", "category", "date", "place", "tags")
    world = World(tuple(WorldField(name, place % 2) for place, name in enumerate(names)))
    out = tmp_path_factory.mktemp("world")
    train, _ = generate_world(out / "data", world, num_train=16, num_test=1)
    return make_problem(train, ["label"], out / "fit")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ENCODERS))
def test_each_encoder_learns_one_batch_by_heart(every_modality, name):
    inputs = {item.modality: item.name for item in every_modality.prepared.schema.inputs}
    modality = Modality(ENCODERS[name].modality)
    result, output, targets = overfit(every_modality, 60, encoders={inputs[modality]: name}, auxiliary=0.0)
    assert result.losses[-1] < 0.05
    assert torch.equal(output.targets["label"].fused.argmax(dim=1), targets["label"])


@pytest.mark.parametrize("name", list(LABELS))
def test_a_batch_without_any_label_has_no_influence(plain_problem, name):
    model = plain_problem.network(**EXACT)
    batch = make_batch(plain_problem.prepared.packs, np.arange(8), targets=plain_problem.source().targets)
    batch.targets[name] = torch.full_like(batch.targets[name], -1 if name == "kind" else float("nan"))
    output = model(batch)
    output.loss.backward()
    task = dict(zip(model.targets, model.tasks, strict=True))[name]
    assert output.targets[name].loss.item() == 0.0
    assert all(value.grad is None or not value.grad.any() for value in task.parameters())
    others = [task for target, task in zip(model.targets, model.tasks, strict=True) if target != name]
    assert any(value.grad.any() for task in others for value in task.parameters() if value.grad is not None)
