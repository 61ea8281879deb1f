"""The MLP ensemble against as many written-out MLPs, and its members' heads."""

from __future__ import annotations

import pytest
import torch
from tests.contract.parts import DIM, ENCODER_CASES, random_tokens
from torch import nn

from omnifuse.layers import BatchEnsembleLinear
from omnifuse.schema import Target, TaskKind
from omnifuse.tasks import TASKS
from omnifuse.tasks.heads import MemberLinear, joined
from omnifuse.tokens import Fused, Tokens

MEMBERS = 4
ONE = {"table": MEMBERS}
TARGETS = {
    TaskKind.CLASSIFICATION: (Target("y", TaskKind.CLASSIFICATION, ("a", "b", "c")), torch.tensor([0, 1, 2, -1, 1])),
    TaskKind.ORDINAL: (Target("y", TaskKind.ORDINAL, ("a", "b", "c")), torch.tensor([0, 1, 2, -1, 1])),
    TaskKind.REGRESSION: (Target("y", TaskKind.REGRESSION), torch.tensor([0.5, -1.0, 2.0, float("nan"), 0.0])),
    TaskKind.TAGGING: (Target("y", TaskKind.TAGGING, ("a", "b")), (torch.arange(10).reshape(5, 2) % 3 == 0).float()),
}


def separate(layers, member):
    """The same as linear layers of torch, for one member: its scales are multiplied into the matrix."""
    found = []
    for layer in layers:
        linear = nn.Linear(layer.shared.in_features, layer.shared.out_features)
        with torch.no_grad():
            linear.weight.copy_(layer.outer[member][:, None] * layer.shared.weight * layer.inner[member][None, :])
            linear.bias.copy_(layer.bias[member])
        found += [linear, nn.ReLU()]
    return nn.Sequential(*found[:-1]).double()


def test_members_are_separate_mlps_whose_gradients_add_up_in_the_shared_matrix():
    torch.manual_seed(0)
    layers = [BatchEnsembleLinear(5, 7, MEMBERS, apart=True), BatchEnsembleLinear(7, 3, MEMBERS)]
    with torch.no_grad():
        for layer in layers:
            layer.inner.mul_(1 + 0.1 * torch.randn_like(layer.inner))
            layer.outer.mul_(1 + 0.1 * torch.randn_like(layer.outer))
    values = torch.randn(6, 5)
    found = layers[1](layers[0](values[:, None].expand(-1, MEMBERS, -1)).relu())
    assert found.shape == (6, MEMBERS, 3)
    found.square().sum().backward()
    gradient = torch.zeros(7, 5, dtype=torch.float64)
    for member in range(MEMBERS):
        alone = separate(layers, member)
        wanted = alone(values.double())
        torch.testing.assert_close(found[:, member].double(), wanted, atol=1e-5, rtol=1e-5)
        wanted.square().sum().backward()
        first = layers[0]
        gradient += alone[0].weight.grad * (first.outer[member][:, None] * first.inner[member][None, :]).double()
    torch.testing.assert_close(layers[0].shared.weight.grad.double(), gradient, atol=1e-4, rtol=1e-4)


def test_members_start_apart_by_signs_alone():
    layer = BatchEnsembleLinear(50, 4, MEMBERS, apart=True)
    assert set(layer.inner.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(layer.inner[0], layer.inner[1])
    assert bool((layer.outer == 1).all())
    assert bool((BatchEnsembleLinear(50, 4, MEMBERS).inner == 1).all())


def test_the_encoder_gives_a_token_a_member_and_a_missing_number_is_no_number():
    case = ENCODER_CASES["table-mlp"]
    encoder = case.build().eval()
    found = encoder(case.batch())
    assert found.values.shape[1] == encoder.num_members == 16
    assert found.values.std(dim=1).min() > 1e-3
    batch = case.batch()
    batch.values["numbers"][0, 2] = 5.0
    assert bool(batch.values["missing"][0, 2])
    hidden = encoder.numbers(batch.values["numbers"])[0, 2]
    assert bool((hidden != 0).any())
    assert bool((encoder._features(batch)[0, 3 + 5 + 2 * 8 : 3 + 5 + 3 * 8] == 0).all())


def test_probabilities_are_averaged_not_logits():
    logits = torch.randn(5, MEMBERS, 3) * 3
    for kind in (TaskKind.CLASSIFICATION, TaskKind.ORDINAL):
        torch.testing.assert_close(joined(kind, logits).exp(), logits.softmax(dim=2).mean(dim=1))
    torch.testing.assert_close(joined(TaskKind.TAGGING, logits).sigmoid(), logits.sigmoid().mean(dim=1))
    torch.testing.assert_close(joined(TaskKind.REGRESSION, logits), logits.mean(dim=1))
    far = joined(TaskKind.TAGGING, torch.tensor([[[200.0], [-300.0]]]))
    assert bool(far.isfinite().all())
    assert torch.equal(joined(TaskKind.CLASSIFICATION, logits[:, 0]), logits[:, 0])


def test_the_head_of_members_is_one_linear_layer_each():
    head, tokens = MemberLinear(6, 2, MEMBERS), torch.randn(3, MEMBERS, 6)
    for member in range(MEMBERS):
        wanted = tokens[:, member] @ head.weight[member] + head.bias[member]
        torch.testing.assert_close(head(tokens)[:, member], wanted)


@pytest.mark.parametrize("kind", TARGETS, ids=lambda kind: kind.value)
def test_each_member_is_trained_by_itself(kind):
    """The loss of the field is the mean of the members' losses, and moving one member's token moves no other's."""
    target, labels = TARGETS[kind]
    torch.manual_seed(0)
    values = torch.randn(5, MEMBERS, DIM, requires_grad=True)
    mask = torch.ones(5, MEMBERS, dtype=torch.bool)
    fused = Fused(torch.zeros(5, 1, DIM), torch.ones(5, 1, dtype=torch.bool), torch.zeros(5, DIM))
    task = TASKS[kind](target, DIM, ("table",), auxiliary=1.0, members=ONE)
    found = task(fused, {"table": Tokens(values, mask)}, labels)
    assert task.heads.fields == ("table",)
    assert found.fields["table"].shape == (5, task.num_outputs)
    losses = []
    for member in range(MEMBERS):
        alone = TASKS[kind](target, DIM, ("table",), auxiliary=1.0, members={"table": 1})
        state = task.state_dict()
        for name in ("heads.heads.0.2.weight", "heads.heads.0.2.bias"):
            state[name] = state[name][member : member + 1]
        alone.load_state_dict(state)
        one = alone(fused, {"table": Tokens(values[:, member : member + 1], mask[:, :1])}, labels)
        losses.append(one.loss - one.fused_loss)
    torch.testing.assert_close(found.loss - found.fused_loss, torch.stack(losses).mean())
    answers = task.heads(fused, {"table": Tokens(values, mask)})[1]["table"]
    moved = torch.autograd.grad(answers[:, 0].sum(), values)[0]
    assert bool((moved[:, 1:] == 0).all())


def test_fields_without_members_keep_their_heads():
    tokens = random_tokens(seed=1)
    tokens["a"] = Tokens(torch.randn(5, MEMBERS, DIM), torch.ones(5, MEMBERS, dtype=torch.bool))
    pooled = torch.randn(5, DIM)
    target, labels = TARGETS[TaskKind.CLASSIFICATION]
    task = TASKS[TaskKind.CLASSIFICATION](target, DIM, ("a", "b", "c"), members={"a": MEMBERS})
    found = task(Fused(pooled[:, None], torch.ones(5, 1, dtype=torch.bool), pooled), tokens, labels)
    assert {name: item.shape for name, item in found.fields.items()} == dict.fromkeys("abc", (5, 3))
    assert bool(found.loss.isfinite())
