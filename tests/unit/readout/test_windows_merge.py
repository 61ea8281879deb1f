"""Windows of a long sound: every word once, whatever each window heard at its edges."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.readout.windows_merge import join, merge_windows, plan_windows
from omnifuse.readout.words import Word, text_of


def spoken(num, seed=0, vocabulary=("the", "a", "red", "car", "no", "no")):
    """Words of random lengths with random pauses; many repeat."""
    random = np.random.default_rng(seed)
    words, at = [], 0.5
    for _ in range(num):
        length = float(random.uniform(0.15, 0.6))
        words.append(Word(str(random.choice(vocabulary)), at, at + length, 0.9))
        at += length + float(random.choice([0.05, 0.1, 1.0], p=[0.5, 0.4, 0.1]))
    return words


def heard(words, window, seed, edge_s=0.0):
    """What a window hears: words inside it, those at its edges cut or wrong, times a little off."""
    random = np.random.default_rng(seed)
    found = []
    for word in words:
        start, end = max(word.start_s, window[0]), min(word.end_s, window[1])
        if end <= start:
            continue
        text = word.text
        cut = (start, end) != (word.start_s, word.end_s)
        if cut or min(start - window[0], window[1] - end) < edge_s:
            text = "".join(random.choice(list("xyz"), 3))
        off = float(random.normal(0, 0.03))
        found.append(Word(text, start + off, end + off, 0.3 if text != word.text else 0.9))
    return found


@pytest.mark.parametrize("edge_s", [0.0, 0.8])
def test_every_word_comes_once(edge_s):
    for seed in range(12):
        words = spoken(150, seed)
        windows = plan_windows(words[-1].end_s + 0.3, window_s=12.0, overlap_s=4.0)
        assert len(windows) > 6
        parts = [heard(words, window, [seed, number], edge_s) for number, window in enumerate(windows)]
        merged = merge_windows(parts, windows)
        inner = slice(3, -3) if edge_s else slice(None)
        assert [word.text for word in merged][inner] == [word.text for word in words][inner]
        assert [word.start_s for word in merged] == sorted(word.start_s for word in merged)


def test_one_word_heard_in_two_ways_comes_once():
    first = [Word("we", 8.0, 8.2), Word("meet", 9.0, 9.4, 0.9), Word("katherin", 10.4, 10.9, 0.4)]
    second = [Word("katherine", 10.5, 11.0, 0.8), Word("there", 12.5, 12.9)]
    assert text_of(join(first, second, (10.2, 11.2))) == "we meet katherine there"
    # Unlike, yet at the very same time
    second[0] = replace(second[0], text="xx", start_s=10.45, confidence=0.1)
    assert text_of(join(first, second, (10.2, 11.2))) == "we meet katherin there"


def test_without_a_word_in_common_each_window_has_its_half():
    first = [Word("a", 9.0, 9.2), Word("b", 11.8, 11.9)]
    second = [Word("c", 10.1, 10.2), Word("d", 11.2, 11.4)]
    assert text_of(join(first, second, (10.0, 12.0))) == "a d"
    assert text_of(join(first, [], (10.0, 12.0))) == "a"
    assert text_of(join([], second, (10.0, 12.0))) == "d"
    assert join([], [], (1.0, 2.0)) == []


def test_repeated_words_are_told_apart_by_time():
    words = [Word("no", at, at + 0.2) for at in np.arange(0.5, 20, 0.9)]
    windows = plan_windows(20.5, window_s=8.0, overlap_s=3.0)
    parts = [heard(words, window, number) for number, window in enumerate(windows)]
    assert len(merge_windows(parts, windows)) == len(words)


def test_quick_repeats_are_told_apart_though_one_was_missed():
    words = [Word("no", at, at + 0.2) for at in np.arange(8.0, 14.0, 0.35)]
    first = [word for word in words if word.end_s <= 12.0]
    # The second window missed the first word in the overlap
    second = [word for word in words if word.start_s >= 10.2][1:]
    assert [word.start_s for word in join(first, second, (10.0, 12.0))] == [word.start_s for word in words]


def test_windows_cover_the_sound():
    assert plan_windows(0.0) == [(0.0, 0.0)]
    assert plan_windows(12.0) == [(0.0, 12.0)]
    for duration in (30.0, 30.1, 55.9, 56.0, 100.0, 10_800.0):
        windows = plan_windows(duration)
        assert windows[0][0] == 0
        assert windows[-1][1] == duration
        assert all(two[0] <= one[1] - 4.0 + 1e-9 for one, two in itertools.pairwise(windows))
        assert all(end - start <= 30.0 + 1e-9 for start, end in windows)
    assert len(plan_windows(10_800.0)) == pytest.approx(10_800 / 26, abs=1)


def test_bad_input_is_refused():
    for wrong in ({"overlap_s": 30.0}, {"overlap_s": 0.0}, {"window_s": 4.0}):
        with pytest.raises(InputError, match="do not cover"):
            plan_windows(100.0, **wrong)
    with pytest.raises(InputError, match="do not cover"):
        plan_windows(float("nan"))
    with pytest.raises(InputError, match="1 parts are not of 2 windows"):
        merge_windows([[]], [(0, 1), (1, 2)])
