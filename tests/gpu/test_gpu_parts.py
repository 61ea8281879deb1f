"""Every public part on a graphics card: outputs, losses and gradients are those of the processor."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.contract import test_associations as associations
from tests.contract import test_encoders as encoders
from tests.contract import test_fusions as fusions
from tests.contract import test_tasks as tasks
from tests.contract.parts import DIM, ENCODER_CASES, random_tokens, seeded

from omnifuse.fusion import FUSIONS
from omnifuse.tasks import TASKS
from omnifuse.tokens import Fused, Tokens, gathered, pad_packed, scatter

# Of the largest number of a tensor
NEAR = 1e-4


def on(device, item):
    """Tensors, and dicts, lists and tokens of them, on a device."""
    if isinstance(item, dict):
        return {name: on(device, value) for name, value in item.items()}
    if isinstance(item, list | tuple):
        return [on(device, value) for value in item]
    if isinstance(item, Tokens):
        return Tokens(on(device, item.values), on(device, item.mask))
    if isinstance(item, Fused):
        return Fused(on(device, item.tokens), on(device, item.mask), on(device, item.pooled))
    return item.to(device)


def assert_near(found, wanted, name, floor=1e-6):
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    assert found.shape == wanted.shape, name
    assert bool(found.isfinite().all()), f"{name} is not finite"
    assert wanted.numel() == 0 or float((found - wanted).abs().max()) <= NEAR * max(float(wanted.abs().max()), floor), (
        name
    )


def assert_same(module, run, device):
    """`run(module, device)` gives named tensors, among them the scalar "loss"; it and all gradients agree."""
    module = module.eval()
    other = copy.deepcopy(module).to(device)
    wanted, found = run(module, torch.device("cpu")), run(other, device)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert_near(found[name], value, name)
    for loss in (wanted["loss"], found["loss"]):
        if loss.requires_grad:
            loss.backward()
    gradients = {name: value.grad for name, value in module.named_parameters()}
    # A gradient that is zero in theory is noise on both: it is measured by the largest of all
    largest = max((float(value.abs().max()) for value in gradients.values() if value is not None), default=0.0)
    for name, value in other.named_parameters():
        assert (value.grad is None) == (gradients[name] is None), name
        if value.grad is not None:
            assert value.grad.device.type == device.type
            assert_near(value.grad, gradients[name], f"gradient of {name}", floor=1e-2 * largest)


def drawn(shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", [None, [2], [1, 0], []], ids=["all", "one", "two", "none"])
@pytest.mark.parametrize("case", ENCODER_CASES.values(), ids=ENCODER_CASES)
def test_encoders(case, rows, device):
    def run(encoder, place):
        found = encoder(case.batch(rows).to(place))
        loss = (found.values * drawn(found.values.shape).to(place) * found.mask.unsqueeze(-1)).sum()
        return {"values": found.values * found.mask.unsqueeze(-1), "mask": found.mask, "loss": loss}

    assert_same(case.build(), run, device)


@pytest.mark.parametrize("case", ENCODER_CASES.values(), ids=ENCODER_CASES)
def test_summaries(case, device):
    encoder = case.build().eval()
    if not hasattr(encoder, "summarise"):
        pytest.skip("has no summary")
    wanted = encoder.summarise(case.batch())
    found = copy.deepcopy(encoder).to(device).summarise(case.batch().to(device))
    assert_near(found, wanted, "summary")


@pytest.mark.parametrize("part", encoders.TOKEN_PARTS, ids=lambda part: part.__name__)
def test_token_parts(part, device):
    def run(module, place):
        found = module(on(place, random_tokens(seed=2)))
        loss = sum((item.values * drawn(item.values.shape).to(place)).sum() for item in found.values())
        return {**{name: item.values for name, item in found.items()}, "loss": loss}

    assert_same(seeded(encoders.TOKEN_PARTS[part]), run, device)


@pytest.mark.parametrize("holes", [True, False], ids=["holes", "full"])
@pytest.mark.parametrize("name", FUSIONS)
def test_fusions(name, holes, device):
    tokens = random_tokens(num_rows=8, seed=1)
    if not holes:
        tokens = {key: Tokens(item.values, torch.ones_like(item.mask)) for key, item in tokens.items()}

    def run(fusion, place):
        found = fusion(on(place, tokens))
        loss = (found.pooled * drawn(found.pooled.shape).to(place)).sum()
        loss = loss + (found.tokens * drawn(found.tokens.shape, 4).to(place) * found.mask.unsqueeze(-1)).sum()
        return {"pooled": found.pooled, "mask": found.mask, "loss": loss}

    assert_same(fusions.build(name), run, device)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", TASKS, ids=lambda kind: kind.value)
def test_tasks(kind, smoothing, device):
    fused, tokens = tasks.inputs(seed=1)

    def run(task, place):
        found = task(on(place, fused), on(place, tokens), tasks.with_missing(kind, [1, 4]).to(place))
        return {"fused": found.fused, "fused loss": found.fused_loss, "loss": found.loss}

    assert_same(tasks.build(kind, label_smoothing=smoothing), run, device)


@pytest.mark.parametrize("part", associations.LOSSES, ids=lambda part: part.__name__)
def test_association_losses(part, device):
    tokens = random_tokens(num_rows=8, seed=1)
    assert_same(seeded(associations.LOSSES[part]), lambda module, place: {"loss": module(on(place, tokens))}, device)


@pytest.mark.parametrize("part", associations.PAIRS, ids=lambda part: part.__name__)
def test_association_pairs(part, device):
    def run(module, place):
        found = module(drawn((6, DIM), 5).to(place), drawn((6, DIM), 6).to(place))
        return {"scores": found, "loss": (found * drawn(found.shape).to(place)).sum()}

    assert_same(seeded(associations.PAIRS[part]), run, device)


def test_packed_rows_and_absent_rows(device):
    """What unpacks and spreads rows on a graphics card takes another way than on the processor."""
    lengths = torch.tensor([3, 1, 4])
    present = torch.tensor([False, True, True, False, True])
    values = drawn((8, 2)).requires_grad_()
    moved = values.detach().to(device).requires_grad_()
    found, found_mask = pad_packed(moved, lengths.to(device))
    wanted, mask = pad_packed(values, lengths)
    assert torch.equal(found_mask.cpu(), mask)
    assert torch.equal(found.cpu(), wanted)
    spread = scatter(Tokens(found, found_mask), present.to(device))
    expected = scatter(Tokens(wanted, mask), present)
    assert torch.equal(spread.values.cpu(), expected.values)
    assert torch.equal(spread.mask.cpu(), expected.mask)
    weights = drawn(expected.values.shape)
    (expected.values * weights).sum().backward()
    (spread.values * weights.to(device)).sum().backward()
    torch.testing.assert_close(moved.grad.cpu(), values.grad)
    several = gathered(
        Tokens(drawn((8, 2, 3)).to(device), torch.ones(8, 2, dtype=torch.bool).to(device)), lengths.to(device)
    )
    assert several.mask.sum(dim=1).tolist() == [6, 2, 8]


def test_the_whole_network(media_problem, device):
    """Picture, sound, text, numbers and time together, rows with holes among them."""
    from omnifuse.training.batches import make_batch

    prepared = media_problem.prepared
    model = media_problem.network(shallow="none").eval()
    targets = media_problem.source().targets
    batch = make_batch(prepared.packs, prepared.rows, targets=targets)

    def run(network, place):
        output = network(batch.to(place))
        (target,) = output.targets.values()
        return {"fused": target.fused, "pooled": output.fused.pooled, "loss": output.loss}

    assert_same(model, run, device)
