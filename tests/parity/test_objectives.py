"""Objectives that are computed a block at a time, against dense losses in float64, written out and differentiated."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from omnifuse.association import Items, contrastive_loss, info_nce, sigmoid_loss, variance_invariance_covariance
from omnifuse.association.blocks import hardest_strangers_of

COUNT, DIM = 37, 12


def vectors(count=COUNT, dim=DIM, seed=0):
    draw = torch.Generator().manual_seed(seed)
    made = [torch.randn(count, dim, generator=draw, dtype=torch.float64) for _ in range(2)]
    # As exact in float32, so that both see the same vectors
    return [functional.normalize(0.6 * value + made[0], dim=1).float().double() for value in made]


def codes(count=COUNT, seed=3):
    """Ids of which some are shared or absent, and contents of which some are shared: the two overlap."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(-3, 25, (count,), generator=draw)
    contents = torch.randint(0, 30, (count,), generator=draw)
    return ids, contents


def dense_same(ids, contents):
    count = len(ids)
    same = torch.eye(count, dtype=torch.bool)
    for i in range(count):
        for j in range(count):
            same[i, j] |= bool(ids[i] == ids[j] and ids[i] >= 0) or bool(contents[i] == contents[j])
    return same


def dense_info_nce(first, second, log_scale, same):
    scores = log_scale.exp() * first @ second.T
    wanted = same.double() / same.sum(dim=1, keepdim=True)
    rows = -(wanted * scores.log_softmax(dim=1)).sum(dim=1)
    columns = -(wanted * scores.T.log_softmax(dim=1)).sum(dim=1)
    return 0.5 * (rows.mean() + columns.mean())


def dense_sigmoid(first, second, log_scale, bias, same):
    scores = log_scale.exp() * first @ second.T + bias
    signs = same.double() * 2 - 1
    return -torch.sigmoid(signs * scores).log().sum() / len(first)


def with_gradients(loss, *values):
    leaves = [value.clone().requires_grad_() for value in values]
    found = loss(*leaves)
    # Not 1, so that a slope that is forgotten shows
    (3.0 * found).backward()
    return found.item(), [leaf.grad.double() for leaf in leaves]


def assert_equal(found, wanted, *, value=1e-6, slope=1e-5):
    assert abs(found[0] - wanted[0]) <= value * abs(wanted[0])
    for one, other in zip(found[1], wanted[1], strict=True):
        assert (one - other).abs().max() <= slope * other.abs().max()


@pytest.mark.parametrize("block", [5, 16, 1024])
@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
@pytest.mark.parametrize("several", [False, True])
def test_info_nce(block, scale, several):
    first, second = vectors()
    log_scale = torch.tensor(math.log(scale)).double()
    ids, contents = codes()
    items = Items.joined((ids, contents), COUNT) if several else None
    same = dense_same(ids, contents) if several else torch.eye(COUNT, dtype=torch.bool)
    assert not several or int(same.sum()) > COUNT + 10
    wanted = with_gradients(lambda *v: dense_info_nce(*v, same), first, second, log_scale)
    exact = with_gradients(lambda *v: info_nce(*v, items, block=block), first, second, log_scale)
    assert_equal(exact, wanted, value=1e-12, slope=1e-10)
    single = [value.float() for value in (first, second, log_scale)]
    assert_equal(with_gradients(lambda *v: info_nce(*v, items, block=block), *single), wanted)


def test_info_nce_of_one_partner_a_row_is_the_contrastive_loss():
    first, second = vectors()
    log_scale = torch.tensor(2.0, dtype=torch.float64)
    assert abs(info_nce(first, second, log_scale) - contrastive_loss(first, second, log_scale)) < 1e-12


@pytest.mark.parametrize("block", [5, 16, 1024])
@pytest.mark.parametrize("several", [False, True])
def test_sigmoid(block, several):
    first, second = vectors(seed=1)
    log_scale, bias = torch.tensor(math.log(10.0)).double(), torch.tensor(-10.0).double()
    ids, contents = codes()
    items = Items.joined((ids, contents), COUNT) if several else None
    same = dense_same(ids, contents) if several else torch.eye(COUNT, dtype=torch.bool)
    wanted = with_gradients(lambda *v: dense_sigmoid(*v, same), first, second, log_scale, bias)
    exact = with_gradients(lambda *v: sigmoid_loss(*v, items, block=block), first, second, log_scale, bias)
    assert_equal(exact, wanted, value=1e-12, slope=1e-10)
    single = [value.float() for value in (first, second, log_scale, bias)]
    assert_equal(with_gradients(lambda *v: sigmoid_loss(*v, items, block=block), *single), wanted)


def test_sigmoid_by_hand():
    one = torch.ones(2, 1)
    # Cosines of 1, scale 1, bias 0: two pairs and two strangers
    wanted = -math.log(1 / (1 + math.exp(-1))) - math.log(1 / (1 + math.exp(1)))
    assert abs(sigmoid_loss(one, one, torch.tensor(0.0), torch.tensor(0.0)).item() - wanted) < 1e-6


def test_variance_invariance_covariance_by_loops():
    draw = torch.Generator().manual_seed(5)
    first, second = (torch.randn(9, 4, generator=draw, dtype=torch.float64) * 0.7 for _ in range(2))

    def slow(one, two):
        total = 25 * sum((one[n, d] - two[n, d]) ** 2 for n in range(9) for d in range(4)) / 36
        for values in (one, two):
            means = [sum(values[n, d] for n in range(9)) / 9 for d in range(4)]
            table = [
                [sum((values[n, i] - means[i]) * (values[n, j] - means[j]) for n in range(9)) / 8 for j in range(4)]
                for i in range(4)
            ]
            for d in range(4):
                total = total + 12.5 * torch.clamp(1 - torch.sqrt(table[d][d] + 1e-4), min=0) / 4
                total = total + sum(table[d][j] ** 2 for j in range(4) if j != d) / 4
        return total

    wanted = with_gradients(slow, first, second)
    assert_equal(with_gradients(variance_invariance_covariance, first, second), wanted, value=1e-12, slope=1e-10)
    assert_equal(with_gradients(variance_invariance_covariance, first.float(), second.float()), wanted)


@pytest.mark.parametrize("block", [4, 64])
def test_the_hardest_strangers_by_loops(block):
    first, second = vectors(seed=2)
    ids, contents = codes()
    same = dense_same(ids, contents)
    columns, rows = hardest_strangers_of(first, second, Items.joined((ids, contents), COUNT), block)
    scores = first @ second.T
    for n in range(COUNT):
        assert columns[n] == max((j for j in range(COUNT) if not same[n, j]), key=lambda j: scores[n, j])
        assert rows[n] == max((i for i in range(COUNT) if not same[i, n]), key=lambda i: scores[i, n])


def test_a_row_without_strangers_has_none():
    first, second = vectors(count=3)
    columns, rows = hardest_strangers_of(first, second, Items.joined((torch.zeros(3, dtype=torch.int64),), 3))
    assert columns.tolist() == rows.tolist() == [-1, -1, -1]


def test_gradients_reach_through_autocast():
    """Half precision around the call changes nothing: scores are taken in float32."""
    first, second = (value.float() for value in vectors())
    log_scale = torch.tensor(2.0)
    wanted = with_gradients(info_nce, first, second, log_scale)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = info_nce(first, second, log_scale)
    assert found.item() == wanted[0]
