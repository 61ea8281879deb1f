"""What every pooling promises."""

from __future__ import annotations

import pytest
import torch
from tests.contract.parts import DIM, assert_all_trained, assert_round_trip, close, padded, seeded

from omnifuse.layers import POOLINGS
from omnifuse.tokens import Tokens

each_pooling = pytest.mark.parametrize("name", POOLINGS)


def build(name, seed=0):
    return seeded(POOLINGS[name], DIM, seed=seed)


def tokens_of(num_rows=6, num_tokens=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(num_rows, num_tokens, DIM, generator=draw)
    mask = torch.rand(num_rows, num_tokens, generator=draw) < 0.6
    mask[0], mask[1], mask[2] = True, False, False
    mask[2, 3] = True
    return values, mask


def test_no_pooling_escapes():
    import omnifuse.layers

    listed = {getattr(omnifuse.layers, name) for name in omnifuse.layers.__all__ if name.endswith("Pool")}
    assert listed == set(POOLINGS.values())


@each_pooling
def test_shapes_and_rows_without_tokens(name):
    found = build(name)(*tokens_of())
    assert found.shape == (6, DIM)
    assert bool(found.isfinite().all())
    assert bool((found[1] == 0).all())
    assert bool((found[[0, 2]] != 0).any(dim=1).all())


@each_pooling
def test_rows_padding_and_order_of_tokens(name):
    pool, (values, mask) = build(name).eval(), tokens_of()
    wanted = pool(values, mask)
    longer = padded({"a": Tokens(values, mask)})["a"]
    close(pool(longer.values, longer.mask), wanted)
    order = torch.tensor([3, 0, 4, 1, 2])
    close(pool(values[:, order], mask[:, order]), wanted)
    for row in range(6):
        alone = pool(values[row : row + 1], mask[row : row + 1])
        close(alone[0], wanted[row])
    assert pool(values[:0], mask[:0]).shape == (0, DIM)


@each_pooling
def test_gradients(name):
    pool, (values, mask) = build(name), tokens_of()
    values.requires_grad_()
    torch.manual_seed(1)
    loss = (pool(values, mask) * torch.randn(6, DIM)).sum()
    # A constant added to all scores of a row changes no softmax: the gradient of these biases is zero but for rounding
    by_design = {"weighted": ("score.bias",), "attention": ("keys.bias",)}.get(name, ())
    assert_all_trained(pool, loss, by_design)
    assert bool((values.grad[~mask] == 0).all())
    assert bool((values.grad[0] != 0).any())


@each_pooling
def test_state_round_trip_and_determinism(name):
    values, mask = tokens_of()
    assert_round_trip(lambda seed: build(name, seed), lambda pool: pool(values, mask))
    assert torch.equal(build(name)(values, mask), build(name)(values, mask))
