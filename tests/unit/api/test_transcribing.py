"""Long sounds: no word is lost or doubled at the seams, silent stretches are left out, memory stays bounded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omnifuse.api import transcribing
from omnifuse.data.tables import open_table
from omnifuse.readout.ctc import Hypothesis as Heard
from omnifuse.readout.words import Word

RATE = 1000


class Hearing:
    """A listener that knows what is said when, and hears only whole words of a window."""

    rate_hz, window_s, notes = RATE, 8.0, ()
    sound = SimpleNamespace(source="sound", name="sound")
    model = SimpleNamespace(
        schema=SimpleNamespace(ids=(), fields=[SimpleNamespace(source="sound")]), model_id="m", fields=("sound",)
    )

    def __init__(self, words):
        self.words, self.asked = words, []

    def has_voice(self, samples):
        return bool(np.abs(samples).max(initial=0) > 0)

    def hear(self, windows, cells, *, confined, root):
        self.asked.append(len(windows))
        found = []
        for window in windows:
            inside = [w for w in self.words if window.start_s <= w.start_s and w.end_s <= window.end_s]
            words = tuple(word.shifted(-window.start_s) for word in inside)
            found.append([Heard("", (4,), -1.0, -1.0, words)])
        return found, ("sound",), []


def transcript(words, seconds, silent=()):
    sound = np.full(round(seconds * RATE), 0.1, np.float32)
    for start, end in silent:
        sound[round(start * RATE) : round(end * RATE)] = 0
    listener = Hearing(words)
    cells = {"sound": (sound, RATE)}
    return transcribing._transcript(listener, cells, 3, open_table([{"sound": None}]), confined=False), listener


@pytest.mark.parametrize("seconds", [5.0, 8.0, 8.5, 61.3, 600.0])
def test_every_word_comes_once(seconds):
    starts = np.arange(0.1, seconds - 0.5, 0.7)
    words = [Word(f"w{number}", start, start + 0.4, 0.9) for number, start in enumerate(starts)]
    found, listener = transcript(words, seconds)
    assert found.text.split() == [word.text for word in words]
    assert [word.start_s for word in found.words] == pytest.approx(starts)
    assert found.duration_s == pytest.approx(seconds)
    assert max(listener.asked) <= transcribing.AT_ONCE
    assert bool(found.hypotheses) == (seconds <= 8.0)


def test_windows_without_a_voice_are_left_out():
    words = [Word("one", 1.0, 1.5), Word("two", 58.0, 58.5)]
    found, listener = transcript(words, 60.0, silent=[(3.0, 55.0)])
    assert found.text == "one two"
    assert sum(listener.asked) < 5
    silent, listener = transcript([], 20.0, silent=[(0.0, 20.0)])
    assert (silent.text, silent.confidence, silent.error, listener.asked) == ("", None, None, [])
    assert "no speech was found" in silent.warnings
