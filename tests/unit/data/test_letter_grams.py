"""Runs of letters of word pieces."""

from __future__ import annotations

import numpy as np

from omnifuse.data.letter_grams import MOST_GRAMS, letter_grams


def test_pieces_of_like_spelling_share_most_runs():
    runs = [set(row[row >= 0].tolist()) for row in letter_grams(["rained", "raining", "snow"], 2**30)]
    assert len(runs[0] & runs[1]) > 5
    assert not runs[0] & runs[2]


def test_a_piece_within_a_word_does_not_begin_one():
    begins, goes_on = (set(row[row >= 0].tolist()) for row in letter_grams(["ed", "##ed"], 2**30))
    assert len(begins) == 6
    assert len(goes_on) == 3
    assert goes_on < begins


def test_buckets_length_and_repetition():
    found = letter_grams(["a", "x" * 100, "\u4e2d", "\ud800"], 7)
    assert found.shape == (4, MOST_GRAMS)
    assert found.max() < 7
    assert (found >= 0).sum(axis=1).tolist() == [3, MOST_GRAMS, 3, 3]
    np.testing.assert_array_equal(found, letter_grams(["a", "x" * 100, "\u4e2d", "\ud800"], 7))
    assert letter_grams([], 7).shape == (0, 0)
