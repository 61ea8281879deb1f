from __future__ import annotations

import itertools

import numpy as np
import pytest

from omnifuse.training.bucketing import LEAST_SHARE, MOST_SHARE, bucketed, cheapest_cuts


def padded(lengths, parts):
    """Computed length of all parts together."""
    return sum(float(part.max(axis=0).sum()) * len(part) for part in parts)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cuts_are_cheaper(seed):
    draw = np.random.default_rng(seed)
    lengths = np.sort(draw.integers(1, 30, size=12))[:, None] / 30.0
    lengths = np.concatenate([lengths, draw.random((12, 1))], axis=1)
    # Of 12 rows in 3 parts: from 1 to 8 rows each
    legal = [
        ends
        for ends in itertools.combinations(range(1, 12), 2)
        if all(4 * LEAST_SHARE <= size <= 4 * MOST_SHARE for size in np.diff([0, *ends, 12]))
    ]
    best = min(padded(lengths, np.split(lengths, ends)) for ends in legal)
    assert padded(lengths, np.split(lengths, cheapest_cuts(lengths, 3))) == pytest.approx(best)


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (5, 5), (7, 3), (64, 2), (1000, 9), (5000, 79), (3000, 47)])
def test_every_row_is_in_one_batch_and_none_is_empty(rows, count):
    draw = np.random.default_rng(rows)
    lengths = draw.integers(0, 200, size=(rows + 10, 2)) / 200.0
    shuffled = draw.permutation(rows + 10)[:rows]
    batches = bucketed(shuffled, lengths, count)
    assert len(batches) == count
    assert sorted(np.concatenate(batches)) == sorted(shuffled)
    sizes = np.array([len(batch) for batch in batches])
    assert sizes.min() >= 1
    if rows >= 64 * count:
        assert sizes.max() <= (MOST_SHARE + 0.1) * rows / count


def test_rows_that_are_drawn_twice_stay_two():
    lengths = np.linspace(0.1, 1.0, 50)[:, None]
    shuffled = np.random.default_rng(0).permutation(np.repeat(np.arange(25), 2))
    assert sorted(np.concatenate(bucketed(shuffled, lengths, 4))) == sorted(shuffled)


@pytest.mark.parametrize(("rows", "batch_size", "share"), [(3000, 64, 0.94), (10_000, 128, 0.965), (30_000, 128, 0.97)])
def test_almost_nothing_is_computed_for_padding(rows, batch_size, share):
    draw = np.random.default_rng(1)
    # Words of texts: most are short, a few are twenty times as long
    lengths = np.clip(draw.lognormal(3.2, 0.8, size=(rows, 1)).round(), 1, 192)
    batches = bucketed(draw.permutation(rows), lengths / lengths.max(), -(-rows // batch_size))
    computed = sum(float(lengths[batch].max()) * len(batch) for batch in batches)
    assert lengths.sum() / computed >= share
    in_order = np.array_split(np.arange(rows), len(batches))
    assert lengths.sum() / sum(float(lengths[batch].max()) * len(batch) for batch in in_order) < 0.4


def test_each_epoch_brings_other_rows_together():
    lengths = np.random.default_rng(0).integers(40, 60, size=(640, 1)) / 60.0
    mates = []
    for epoch in range(2):
        shuffled = np.random.default_rng([1, epoch]).permutation(640)
        batches = bucketed(shuffled, lengths, 10)
        mates.append({pair for batch in batches for pair in itertools.combinations(sorted(batch.tolist()), 2)})
    assert len(mates[0] & mates[1]) < 0.6 * len(mates[0])
