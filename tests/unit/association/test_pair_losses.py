"""Cosine and matching losses by hand and against torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from omnifuse.association import MatchingLoss, cosine_loss
from omnifuse.association.matching import hardest_strangers


def units(count, dim=4, seed=0):
    torch.manual_seed(seed)
    return functional.normalize(torch.randn(count, dim), dim=1)


def test_cosine_loss_is_that_of_torch_over_all_strangers():
    first, second = units(6, seed=1), units(6, seed=2)
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    strange = rows != columns
    pairs = functional.cosine_embedding_loss(first, second, torch.ones(6))
    strangers = functional.cosine_embedding_loss(
        first[rows[strange]], second[columns[strange]], -torch.ones(30), margin=0.2
    )
    torch.testing.assert_close(cosine_loss(first, second), pairs + strangers)


def test_perfect_pairs_cost_nothing():
    corners = torch.eye(4)
    assert cosine_loss(corners, corners).item() == 0.0
    assert cosine_loss(corners, -corners).item() == 2.0


def test_the_hardest_strangers_are_the_most_alike_but_not_the_own():
    similar = torch.tensor([[0.9, 0.1, 0.8], [0.2, 0.3, 0.7], [0.95, 0.4, 0.5]])
    columns, rows = hardest_strangers(similar)
    assert columns.tolist() == [2, 2, 0]
    assert rows.tolist() == [2, 2, 0]


def test_matching_is_half_pairs_half_hard_strangers():
    loss = MatchingLoss(("a", "b"), 4)
    first, second = units(3, seed=3), units(3, seed=4)
    columns, rows = hardest_strangers(first @ second.T)
    paired = [loss.judge(first[n : n + 1], second[n : n + 1]).item() for n in range(3)]
    strange = [loss.judge(first[n : n + 1], second[columns[n]][None]).item() for n in range(3)]
    strange += [loss.judge(first[rows[n]][None], second[n : n + 1]).item() for n in range(3)]
    wanted = 0.5 * sum(math.log1p(math.exp(-value)) for value in paired) / 3
    wanted += 0.5 * sum(math.log1p(math.exp(value)) for value in strange) / 6
    assert loss.pair(first, second).item() == pytest.approx(wanted, rel=1e-5)


def test_matching_learns_what_a_cosine_cannot_see():
    """Partners are orthogonal to one another: only a judge of both can tell."""
    torch.manual_seed(0)
    loss = MatchingLoss(("a", "b"), 8)
    first = functional.normalize(torch.randn(64, 8), dim=1)
    second = first.roll(1, dims=1)
    optimiser = torch.optim.Adam(loss.judge.parameters(), lr=0.02)
    before = loss.pair(first, second).item()
    for _ in range(200):
        optimiser.zero_grad()
        value = loss.pair(first, second)
        value.backward()
        optimiser.step()
    assert value.item() < 0.5 * before
