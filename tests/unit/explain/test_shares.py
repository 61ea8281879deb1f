"""Shapley values against their definition: the mean over all orders of what a player adds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from omnifuse.explain import shapley_shares


def random_game(num_players, *, seed=0, num_values=2):
    table = np.random.default_rng(seed).normal(size=(2**num_players, num_values))

    def value(there):
        return table[there @ (1 << np.arange(num_players))]

    return value


def by_definition(value, num_players):
    """The mean over all orders, one subset at a time."""
    orders = list(itertools.permutations(range(num_players)))
    total = 0.0
    for order in orders:
        gains = np.zeros((num_players, value(np.zeros((1, num_players), bool)).shape[1]))
        there = np.zeros((1, num_players), bool)
        for player in order:
            before = value(there)[0]
            there[0, player] = True
            gains[player] = value(there)[0] - before
        total = total + gains
    return total / len(orders)


@pytest.mark.parametrize("num_players", [1, 2, 3, 5])
def test_exact_shares_are_those_of_the_definition(num_players):
    value = random_game(num_players)
    found = shapley_shares(value, num_players)
    np.testing.assert_allclose(found.values, by_definition(value, num_players), atol=1e-12)
    assert found.errors is None


@pytest.mark.parametrize(("num_players", "exact"), [(4, True), (7, True), (8, False), (12, False)])
def test_shares_add_up_to_all_less_none(num_players, exact):
    value = random_game(num_players, seed=num_players)
    found = shapley_shares(value, num_players)
    nothing, everything = value(np.zeros((1, num_players), bool))[0], value(np.ones((1, num_players), bool))[0]
    np.testing.assert_allclose(found.values.sum(axis=0), everything - nothing, atol=1e-9)
    np.testing.assert_array_equal(found.nothing, nothing)
    np.testing.assert_array_equal(found.everything, everything)
    assert (found.errors is None) == exact


@pytest.mark.parametrize("most_exact", [7, 0])
def test_players_that_do_the_same_get_the_same_and_idle_ones_nothing(most_exact):
    """The first two are of use only together, the third never is."""
    found = shapley_shares(
        lambda there: 6.0 * (there[:, :1] & there[:, 1:2]), 3, most_exact=most_exact, most_asked=4096
    )
    np.testing.assert_allclose(found.values[:, 0], [3.0, 3.0, 0.0], atol=1e-12 if most_exact else 0.6)
    assert found.values[2, 0] == 0.0
    if not most_exact:
        assert found.errors[2, 0] == 0.0


@pytest.mark.parametrize("num_players", [6, 11])
def test_a_sum_gives_each_player_its_own_weight(num_players):
    """Exactly so when orders are drawn too: every order says the same."""
    weights = np.random.default_rng(3).normal(size=(num_players, 2))
    found = shapley_shares(lambda there: there @ weights + 5.0, num_players)
    np.testing.assert_allclose(found.values, weights, atol=1e-12)
    if found.errors is not None:
        np.testing.assert_allclose(found.errors, 0.0, atol=1e-12)


def test_drawn_orders_come_near_the_truth_and_say_how_near():
    value = random_game(6, seed=9, num_values=40)
    truth, found = shapley_shares(value, 6), shapley_shares(value, 6, most_exact=0)
    off = np.abs(found.values - truth.values) / found.errors
    assert 0.3 < np.median(off) < 1.2
    assert (off < 2).mean() > 0.85
    again = shapley_shares(value, 6, most_exact=0)
    np.testing.assert_array_equal(found.values, again.values)
    assert not np.array_equal(found.values, shapley_shares(value, 6, most_exact=0, seed=1).values)


def test_no_subset_is_asked_twice_and_not_too_many():
    asked = []

    def value(there):
        asked.append(there)
        return there.sum(axis=1, keepdims=True)

    shapley_shares(value, 20, most_asked=400)
    assert len(asked) == 1
    assert len(np.unique(asked[0], axis=0)) == len(asked[0]) <= 400


def test_nobody_plays():
    found = shapley_shares(lambda there: np.full((len(there), 1), 4.0), 0)
    assert found.values.shape == (0, 1)
    assert found.nothing == found.everything == [4.0]
