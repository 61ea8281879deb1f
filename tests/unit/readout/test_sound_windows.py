"""Every sample of a sound lies in a window, neighbours overlap, and little is held."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.readout.sound_windows import sound_windows, window_length


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 120, 175, 176, 250, 1003])
@pytest.mark.parametrize("block", [7, 100, 1003])
def test_windows_cover_the_sound(count, block):
    sound = np.arange(count, dtype=np.float32)
    blocks = (sound[begin : begin + block] for begin in range(0, count, block))
    windows = list(sound_windows(blocks, 100, window_s=1.0, overlap_s=0.25))
    assert windows[0].start_s == 0
    assert windows[-1].end_s == pytest.approx(count / 100)
    for window in windows:
        first = round(window.start_s * 100)
        np.testing.assert_array_equal(window.samples, sound[first : round(window.end_s * 100)])
        assert len(window.samples) == min(100, count)
    for one, two in itertools.pairwise(windows):
        assert one.end_s - two.start_s >= 0.25 - 1e-9


def test_ten_minutes_hold_no_more_than_some_windows():
    largest = 0

    def blocks():
        for _ in range(600):
            yield np.zeros(1000, np.float32)

    for window in sound_windows(blocks(), 1000, window_s=8.0, overlap_s=2.0):
        largest = max(largest, len(window.samples))
    assert largest == 8000


def test_windows_are_about_as_long_as_what_was_learnt():
    assert window_length(2.0, 30.0) == 6.0
    assert window_length(10.0, 30.0) == 12.5
    assert window_length(500.0, 30.0) == 30.0
    assert window_length(500.0, 5.0) == 5.0
    with pytest.raises(InputError, match="cannot overlap"):
        list(sound_windows([], 100, window_s=1.0, overlap_s=1.0))
