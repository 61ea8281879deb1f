from __future__ import annotations

import numpy as np
import pytest
import torch

from omnifuse.model import Ensemble, MultimodalModel
from omnifuse.tokens import Batch, Tokens
from omnifuse.training.batches import make_batch


@pytest.fixture(scope="module")
def model(plain_problem) -> MultimodalModel:
    return plain_problem.network(modality_dropout=0.6).eval()


@pytest.fixture(scope="module")
def batch(plain_problem) -> Batch:
    return make_batch(plain_problem.prepared.packs, np.arange(24), targets=plain_problem.source().targets)


def test_outputs_have_a_row_for_each_row_and_every_part_of_the_loss(model, batch):
    output = model(batch)
    assert {name: tuple(item.fused.shape) for name, item in output.targets.items()} == {
        "kind": (24, 2), "tags": (24, 2), "price": (24, 1),
    }  # fmt: skip
    assert output.fused.pooled.shape == (24, 32)
    assert set(output.parts) == {"kind", "tags", "price"}
    assert output.loss.item() == pytest.approx(sum(part.item() for part in output.parts.values()), rel=1e-6)


def test_without_targets_there_is_no_loss(model, batch):
    output = model(Batch(batch.fields, {}, batch.weights, batch.rows))
    assert output.loss is None
    assert output.parts == {}


def test_a_row_with_nothing_is_answered(model, batch):
    output = model.read({}, num_rows=3)
    assert output.fused.pooled.shape == (3, 32)
    assert all(torch.isfinite(item.fused).all() for item in output.targets.values())
    hidden = model(Batch({}, {}, torch.ones(3), torch.arange(3)))
    torch.testing.assert_close(hidden.fused.pooled, output.fused.pooled)


def test_the_others_in_a_batch_do_not_matter(model, batch, plain_problem):
    whole = model(batch)
    for row in (0, 5, 23):
        alone = model(make_batch(plain_problem.prepared.packs, np.array([row])))
        torch.testing.assert_close(alone.fused.pooled[0], whole.fused.pooled[row], rtol=1e-4, atol=1e-5)


def test_modality_dropout_hides_fields_but_never_the_last_one_of_a_row(model):
    torch.manual_seed(0)
    mask = torch.rand(200, 3, 4) < 0.5
    tokens = {name: Tokens(torch.ones(200, 4, 32), mask[:, i]) for i, name in enumerate(model.fields[:3])}
    model.train()
    hidden = model._hide(tokens)
    model.eval()
    before = torch.stack([item.present for item in tokens.values()], dim=1)
    after = torch.stack([item.present for item in hidden.values()], dim=1)
    assert not (after & ~before).any()
    assert torch.equal(after.any(dim=1), before.any(dim=1))
    share = after.sum() / before.sum()
    assert 0.4 < share < 0.65
    assert model._hide(tokens) is tokens


def test_an_ensemble_gives_each_members_outputs(plain_problem, batch):
    members = [plain_problem.network(seed=seed).eval() for seed in (0, 1)]
    outputs = Ensemble(members)(batch)
    for member, output in zip(members, outputs, strict=True):
        assert torch.equal(output.fused.pooled, member(batch).fused.pooled)
    assert not torch.equal(outputs[0].fused.pooled, outputs[1].fused.pooled)
    assert Ensemble(members).fields == members[0].fields


def test_alignment_adds_its_weighted_part(plain_problem, batch):
    plain = plain_problem.network().eval()(batch)
    aligned = plain_problem.network(alignment=0.25).eval()(batch)
    assert set(aligned.parts) - set(plain.parts) == {"alignment"}
    assert aligned.parts["alignment"].item() > 0
