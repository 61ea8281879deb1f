"""The losses and gradients of a batch's parts add up to those of the whole batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.integration.test_overfit import EXACT

from omnifuse.training.accumulation import as_part, parts_of, rows_of
from omnifuse.training.balancing import GradNorm, UncertaintyBalancing
from omnifuse.training.batches import make_batch

CALM = EXACT | {"shallow": "none", "label_smoothing": 0.1}


def whole_batch(problem):
    source = problem.source()
    return make_batch(source.packs, problem.prepared.rows, targets=source.targets)


def learnt(model, batch, rows, balancing=None):
    """Loss, its parts and the gradients, with so many rows at once."""
    model.zero_grad()
    losses = {}
    for part, shares in parts_of(batch, model, rows):
        output = as_part(model(part), model, part.size / batch.size, shares)
        (balancing.loss(output) if balancing else output.loss).backward()
        for name, value in {"": output.loss, **output.parts}.items():
            losses[name] = losses.get(name, 0.0) + float(value.detach())
    return losses, {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def close(first, second):
    assert first[0] == pytest.approx(second[0], rel=1e-5)
    assert first[1].keys() == second[1].keys()
    for name, value in first[1].items():
        torch.testing.assert_close(second[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("rows", [23, 8, 5, 1])
@pytest.mark.parametrize("problem", ["plain_problem", "level_problem"])
def test_parts_add_up_with_missing_labels_missing_fields_and_class_weights(request, problem, rows):
    problem = request.getfixturevalue(problem)
    model, batch = problem.network(**CALM), whole_batch(problem)
    for task in model.tasks:
        if hasattr(task, "class_weights"):
            task.class_weights.copy_(torch.linspace(0.5, 2.0, task.num_outputs))
    close(learnt(model, batch, 1000), learnt(model, batch, rows))


def test_a_part_counts_by_its_labels_and_not_by_its_rows(plain_problem):
    model, batch = plain_problem.network(**CALM), whole_batch(plain_problem)
    batch.targets["price"][1:] = float("nan")
    batch.targets["kind"][:-1] = -1
    close(learnt(model, batch, 1000), learnt(model, batch, 6))


@pytest.mark.parametrize("kind", [UncertaintyBalancing, GradNorm])
def test_the_weights_of_targets_learn_the_same_from_parts(plain_problem, kind):
    model, batch = plain_problem.network(**CALM), whole_batch(plain_problem)
    whole, parted = kind(model.targets), kind(model.targets)
    for _ in range(3):
        whole.begin()
        parted.begin()
        close(learnt(model, batch, 1000, whole), learnt(model, batch, 7, parted))
        whole.learn()
        parted.learn()
        assert whole.weights == pytest.approx(parted.weights, rel=1e-4)
    assert len(set(whole.weights.values())) > 1


def test_the_alignment_of_a_part_counts_by_its_rows(plain_problem):
    model, batch = plain_problem.network(**CALM, alignment=0.5), whole_batch(plain_problem)
    parts = [as_part(model(part), model, part.size / batch.size, shares) for part, shares in parts_of(batch, model, 12)]
    alone = [model(part) for part, _ in parts_of(batch, model, 12)]
    for output, plain in zip(parts, alone, strict=True):
        torch.testing.assert_close(output.parts["alignment"], plain.parts["alignment"] * 12 / 24)


def test_rows_of_a_batch_are_those_that_a_batch_of_these_rows_has(media_problem):
    packs, targets = media_problem.prepared.packs, media_problem.source().targets
    rows = np.random.default_rng(0).permutation(media_problem.prepared.rows)
    batch = make_batch(packs, rows, targets=targets)
    for start, stop in ((0, 5), (5, 6), (6, len(rows)), (3, 3)):
        found, expected = rows_of(batch, start, stop), make_batch(packs, rows[start:stop], targets=targets)
        assert found.rows.tolist() == expected.rows.tolist()
        for name, item in expected.fields.items():
            assert torch.equal(found.fields[name].lengths, item.lengths)
            assert torch.equal(found.fields[name].present, item.present)
            assert all(torch.equal(found.fields[name].values[key], value) for key, value in item.values.items())
        assert all(torch.equal(found.targets[name], value) for name, value in expected.targets.items())


def test_texts_count_by_their_ids():
    """Long and short texts, missing ones and missing fields, in parts of any size."""
    from omnifuse.building import build_from_spec
    from omnifuse.data.bpe import TargetTokenizer
    from omnifuse.data.pack import Pack
    from omnifuse.data.target_text import encode_texts
    from omnifuse.presets import ModelSpec
    from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

    class Pieces:
        vocab_size, pieces = 9, tuple("abcdefghi")

    schema = Schema((Field("note", Modality.TEXT),), (Target("said", TaskKind.CAPTIONING),))
    texts = ["a", None, "a cab", "", "bad bad bad", "c", None, "ab"]
    present = np.array([True, True, False, True, True, False, True, True])
    lengths = np.where(present, [3, 2, 0, 4, 1, 0, 2, 5], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(offsets[-1]).astype(np.int32) % 9
    text = TargetTokenizer.fit(texts, units="characters")
    torch.manual_seed(0)
    spec = ModelSpec(dim=8, num_heads=2, encoder_depth=1, dropout=0.0, shallow="none", decoder_depth=1)
    model = build_from_spec(schema, {"note": Pieces(), "said": text}, spec)
    targets = {"said": torch.from_numpy(encode_texts(texts, text))}
    batch = make_batch({"note": Pack({"ids": ids}, offsets, present)}, np.arange(8), targets=targets)
    for rows in (5, 3, 1):
        close(learnt(model, batch, 1000), learnt(model, batch, rows))
