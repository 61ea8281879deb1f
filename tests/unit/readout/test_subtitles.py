"""Subtitles: every word, lines and times within their limits, and nothing that a player would misread."""

from __future__ import annotations

import re

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.readout.subtitles import SubtitleLayout, as_srt, as_vtt
from omnifuse.readout.words import Word


def spoken(num=200, seed=0):
    random = np.random.default_rng(seed)
    words, at = [], 0.2
    for number in range(num):
        length = float(random.uniform(0.1, 0.6))
        mark = str(random.choice(["", "", "", "", ",", "."]))
        words.append(Word("w" * int(random.integers(1, 12)) + str(number) + mark, at, at + length))
        at += length + float(random.choice([0.02, 0.1, 1.2], p=[0.6, 0.3, 0.1]))
    return words


def test_cues_keep_to_their_limits():
    layout = SubtitleLayout()
    words = spoken()
    cues = layout.cues(words)
    assert " ".join(line for cue in cues for line in cue.lines).split() == [word.text for word in words]
    for cue, following in zip(cues, [*cues[1:], None], strict=True):
        assert len(cue.lines) <= 2
        assert all(len(line) <= 42 for line in cue.lines)
        assert 0 < cue.end_s - cue.start_s <= 7.0
        if following:
            assert cue.end_s <= following.start_s
            assert cue.end_s - cue.start_s >= min(1.0, following.start_s - cue.start_s) - 1e-9
    assert len(cues) > 20


def test_pauses_and_sentences_start_new_cues():
    words = [Word("one", 0, 0.5), Word("two.", 0.5, 1.0), Word("three", 2.0, 2.5), Word("four", 2.5, 3)]
    assert [cue.lines for cue in SubtitleLayout().cues(words)] == [("one two.",), ("three four",)]
    long = [Word("this-is-a-long-sentence-of-one-word.", 0, 1), Word("next", 1.0, 1.5)]
    assert len(SubtitleLayout().cues(long)) == 2


def test_words_too_long_for_a_line_or_a_cue_are_kept():
    words = [Word("a" * 60, 0, 9.0), Word("b" * 60, 9.0, 18.5)]
    assert [cue.lines for cue in SubtitleLayout().cues(words)] == [("a" * 60,), ("b" * 60,)]


def test_srt():
    text = as_srt([Word("hello", 0.5, 1.0), Word("-->", 3661.0004, 3661.5)])
    assert text == "1\n00:00:00,500 --> 00:00:01,500\nhello\n\n2\n01:01:01,000 --> 01:01:02,000\n->\n"
    assert as_srt([]) == ""
    times = re.findall(r"^\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}$", as_srt(spoken()), re.M)
    assert len(times) == len(SubtitleLayout().cues(spoken()))


def test_vtt():
    text = as_vtt([Word("<b>&", 0.5, 1.0), Word("-->", 5.0, 7.0)])
    assert text == "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n&lt;b&gt;&amp;\n\n00:00:05.000 --> 00:00:07.000\n--&gt;\n"
    assert as_vtt([]) == "WEBVTT\n"


def test_bad_layouts_are_refused():
    for wrong in ({"line_chars": 0}, {"num_lines": 0}, {"shortest_s": 9.0}):
        with pytest.raises(InputError, match="cannot be made"):
            SubtitleLayout(**wrong)
