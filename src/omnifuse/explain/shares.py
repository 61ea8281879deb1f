"""Shapley values: the one fair way to split what several players reach together among them.

Each player gets the mean, over all orders in which players can come in, of what the value gains when it comes in. The
shares of all players add up to the value of all less that of none; players that do the same get the same; a player that
changes nothing gets nothing. Up to a few players all 2^N subsets are asked; beyond, orders are drawn at random, each
with its reverse, which keeps the sum exact and gives each share a standard error.

References: Shapley 1953, A Value for n-Person Games; Castro, Gomez and Tejada 2009 (sampled orders); Mitchell et al.
2022, Sampling Permutations for Shapley Value Estimation (orders with their reverse); Lundberg and Lee 2017, A Unified
Approach to Interpreting Model Predictions (the players are what a model reads).

Shapes: N players, S subsets, K values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# (S, N) bool, who takes part, to (S, K): what these reach
Value = Callable[[np.ndarray], np.ndarray]

MOST_EXACT = 7
MOST_ASKED = 1024
_FEWEST_PAIRS, _MOST_PAIRS = 4, 64


@dataclass(frozen=True)
class Shares:
    """What each player gets.

    Attributes:
        values: (N, K) share of each player in each value.
        errors: (N, K) their standard errors, where orders were drawn; None where all subsets were asked.
        nothing: (K,) the value of no player.
        everything: (K,) the value of all players.
    """

    values: np.ndarray
    errors: np.ndarray | None
    nothing: np.ndarray
    everything: np.ndarray


def shapley_shares(
    value: Value, num_players: int, *, most_exact: int = MOST_EXACT, most_asked: int = MOST_ASKED, seed: int = 0
) -> Shares:
    """Shapley values of a game.

    Args:
        value: The game; called once, with every subset that is needed and none of them twice.
        num_players: N.
        most_exact: Up to so many players all 2^N subsets are asked.
        most_asked: Beyond, about so many subsets are asked at most; 4 pairs of orders are drawn at least.
        seed: Of the orders: the same seed gives the same shares.

    Example:
        >>> found = shapley_shares(lambda there: 2.0 * there[:, :1] + 3.0 * there[:, 1:], 2)
        >>> found.values.ravel().tolist()
        [2.0, 3.0]
    """
    if num_players <= most_exact:
        return _exact(value, num_players)
    pairs = min(max(most_asked // (2 * num_players), _FEWEST_PAIRS), _MOST_PAIRS)
    return _sampled(value, num_players, pairs, np.random.default_rng([seed, num_players]))


def _exact(value: Value, num_players: int) -> Shares:
    """From all subsets: subset number m holds player i where bit i of m is set."""
    numbers = np.arange(2**num_players)
    there = (numbers[:, None] >> np.arange(num_players) & 1).astype(bool)
    reached = np.asarray(value(there), np.float64)
    sizes = there.sum(axis=1)
    # A subset of s others comes before a player in s! (N - s - 1)! of the N! orders
    chance = np.array([1 / (num_players * math.comb(num_players - 1, size)) for size in range(num_players)])
    values = np.zeros((num_players, reached.shape[1]))
    for player in range(num_players):
        without = numbers[~there[:, player]]
        gains = reached[without | 1 << player] - reached[without]
        values[player] = chance[sizes[without]] @ gains
    return Shares(values, None, reached[0], reached[-1])


def _sampled(value: Value, num_players: int, pairs: int, draw: np.random.Generator) -> Shares:
    """From orders drawn at random, each with its reverse."""
    drawn = [draw.permutation(num_players) for _ in range(pairs)]
    orders = np.array([order for one in drawn for order in (one, one[::-1])])
    # Step t of an order: the first t players of it are there
    places = np.argsort(orders, axis=1)
    there = places[:, None, :] < np.arange(num_players + 1)[None, :, None]
    subsets, index = np.unique(there.reshape(-1, num_players), axis=0, return_inverse=True)
    reached = np.asarray(value(subsets), np.float64)[index.reshape(len(orders), num_players + 1)]
    gains = np.diff(reached, axis=1)
    of_players = np.take_along_axis(gains, places[:, :, None], axis=1)
    means = of_players.reshape(pairs, 2, num_players, -1).mean(axis=1)
    errors = means.std(axis=0, ddof=1) / math.sqrt(pairs)
    return Shares(means.mean(axis=0), errors, reached[0, 0], reached[0, -1])
