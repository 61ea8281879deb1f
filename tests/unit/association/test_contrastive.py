"""Alignment against a slow float64 reference."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from omnifuse.association import AlignmentLoss, contrastive_loss
from omnifuse.tokens import Tokens

FIELDS = ("a", "b", "c")


def slow_loss(first, second, scale):
    """Symmetric InfoNCE, term by term in float64."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    count, total = len(first), 0.0
    for one, two in ((first, second), (second, first)):
        for row in range(count):
            scores = [scale * sum(x * y for x, y in zip(one[row], other, strict=True)) for other in two]
            top = max(scores)
            total += top + math.log(sum(math.exp(score - top) for score in scores)) - scores[row]
    return total / (2 * count)


@pytest.mark.parametrize("count", [2, 5, 16])
@pytest.mark.parametrize("scale", [1.0, 1 / 0.07])
def test_dense_loss_is_the_slow_one(count, scale):
    draw = torch.Generator().manual_seed(count)
    one, two = (functional.normalize(torch.randn(count, 8, generator=draw), dim=1) for _ in range(2))
    wanted = slow_loss(one.numpy(), two.numpy(), scale)
    found = contrastive_loss(one, two, torch.tensor(math.log(scale)))
    assert abs(found.item() - wanted) <= 1e-6 * max(1.0, wanted)
    found = contrastive_loss(one.double(), two.double(), torch.tensor(math.log(scale), dtype=torch.float64))
    assert abs(found.item() - wanted) <= 1e-12 * max(1.0, wanted)


def test_gradients_are_those_of_finite_differences():
    draw = torch.Generator().manual_seed(0)
    one, two = (torch.randn(4, 3, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(contrastive_loss, (one, two, scale), atol=1e-5)


def test_values_by_hand():
    same = torch.eye(2)
    # Scores 1 and 0: log(1 + 1 / e)
    assert abs(contrastive_loss(same, same, torch.tensor(0.0)).item() - math.log(1 + math.exp(-1))) < 1e-6
    assert abs(contrastive_loss(same, same.flip(0), torch.tensor(0.0)).item() - math.log(1 + math.e)) < 1e-6
    assert abs(contrastive_loss(torch.ones(3, 1), torch.ones(3, 1), torch.tensor(2.0)).item() - math.log(3)) < 1e-6


def random_tokens(num_rows=6, dim=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    tokens = {}
    for number, name in enumerate(FIELDS):
        mask = torch.rand(num_rows, 2 + number, generator=draw) < 0.5
        mask[:3] = True
        tokens[name] = Tokens(torch.randn(num_rows, 2 + number, dim, generator=draw), mask)
    return tokens


def test_module_is_the_mean_over_pairs_of_rows_that_have_both():
    torch.manual_seed(0)
    module, tokens = AlignmentLoss(FIELDS, 5, 4), random_tokens()
    vectors = {}
    for index, (name, item) in enumerate(tokens.items()):
        weight = module.layers[index].weight.detach().double().numpy()
        bias = module.layers[index].bias.detach().double().numpy()
        for row in range(6):
            kept = item.values[row][item.mask[row]].double().numpy()
            if len(kept):
                vector = weight @ kept.mean(axis=0) + bias
                vectors[name, row] = vector / np.sqrt((vector**2).sum())
    losses = []
    for one, two in itertools.combinations(FIELDS, 2):
        rows = [row for row in range(6) if (one, row) in vectors and (two, row) in vectors]
        pair = [np.stack([vectors[name, row] for row in rows]) for name in (one, two)]
        losses.append(slow_loss(*pair, 1 / 0.07))
    assert abs(module(tokens).item() - np.mean(losses)) < 1e-5
    two_only = module({"a": tokens["a"], "b": tokens["b"]})
    assert abs(two_only.item() - losses[0]) < 1e-5


def test_one_common_row_is_no_pair():
    module, tokens = AlignmentLoss(FIELDS, 5), random_tokens()
    mask = torch.zeros_like(tokens["b"].mask)
    mask[0] = True
    loss = module({"a": tokens["a"], "b": Tokens(tokens["b"].values, mask)})
    assert loss.item() == 0.0
    loss.backward()
    assert module.log_scale.grad.item() == 0.0
    # It does not thin the mean over pairs either
    three = {"a": tokens["a"], "b": Tokens(tokens["b"].values, mask), "c": tokens["c"]}
    torch.testing.assert_close(module(three), module({"a": tokens["a"], "c": tokens["c"]}))


def test_temperature_is_held():
    module, tokens = AlignmentLoss(FIELDS, 5), random_tokens()
    with torch.no_grad():
        module.log_scale.fill_(math.log(100.0))
    at_limit = module(tokens).item()
    with torch.no_grad():
        module.log_scale.fill_(50.0)
    assert module(tokens).item() == at_limit


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e15])
def test_never_nan(size):
    module, tokens = AlignmentLoss(FIELDS, 5), random_tokens()
    with torch.no_grad():
        for layer in module.layers:
            layer.bias.zero_()
    scaled = {name: Tokens((item.values * size).requires_grad_(), item.mask) for name, item in tokens.items()}
    loss = module(scaled)
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(item.values.grad.isfinite().all()) for item in scaled.values())
    assert all(bool(item.grad.isfinite().all()) for item in module.parameters())


def test_training_draws_partners_together():
    torch.manual_seed(0)
    module, tokens = AlignmentLoss(FIELDS, 5, 8), random_tokens(seed=3)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    before = module(tokens).item()
    for _ in range(40):
        optimiser.zero_grad()
        module(tokens).backward()
        optimiser.step()
    assert module(tokens).item() < 0.3 * before


def test_any_name_of_a_field():
    module = AlignmentLoss(("a.b", "weight", "layers"), 5)
    assert len(list(module.parameters())) == 7
