"""Voice activity: speech-like sound is found where it is, silence and steady noise hold none."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.readout.vad import VoiceActivity, levels_and_flatness

RATE_HZ = 16_000


def voice(seconds, pitch_hz=140.0):
    """Harmonics under a slowly beating level, as of syllables."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 20))
    return 0.1 * sound * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))


def hiss(seconds, level, seed=0):
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ))


def scene(noise):
    """Speech from 1.0 to 2.0 s and from 3.0 to 3.5 s in five seconds of hiss."""
    sound = hiss(5.0, noise)
    sound[RATE_HZ : 2 * RATE_HZ] += voice(1.0)
    sound[3 * RATE_HZ : 3 * RATE_HZ + RATE_HZ // 2] += voice(0.5, 220)
    return sound


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.005, 0.02])
def test_speech_is_found_where_it_is(noise):
    found = VoiceActivity(margin_s=0.0)(scene(noise), RATE_HZ)
    times = [(span.start_s, span.end_s) for span in found]
    assert np.array(times) == pytest.approx(np.array([(1.0, 2.0), (3.0, 3.5)]), abs=0.12)


def test_margins_and_gaps():
    wide = VoiceActivity(margin_s=0.2)(scene(0.005), RATE_HZ)
    assert (wide[0].start_s, wide[1].end_s) == pytest.approx((0.8, 3.7), abs=0.12)
    (one,) = VoiceActivity(least_silence_s=1.5)(scene(0.005), RATE_HZ)
    assert one.end_s - one.start_s > 2.4
    assert len(VoiceActivity(least_speech_s=0.8)(scene(0.005), RATE_HZ)) == 1


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0),
        np.zeros(RATE_HZ),
        np.full(RATE_HZ, 0.5),
        np.full(100, np.nan),
        hiss(3.0, 1e-5),
        hiss(3.0, 0.1),
        np.concatenate([hiss(1.0, 0.001), hiss(1.0, 0.1), hiss(1.0, 0.001)]),
    ],
)
def test_silence_and_noise_hold_no_speech(sound):
    assert VoiceActivity()(sound, RATE_HZ) == []


def test_speech_without_a_pause_and_integers():
    (span,) = VoiceActivity()(voice(2.0) + hiss(2.0, 1e-4), RATE_HZ)
    assert span.end_s - span.start_s > 1.8
    (again,) = VoiceActivity()((voice(2.0) * 32767).astype(np.int16), RATE_HZ)
    assert again.end_s <= 2.0


def test_flatness_is_that_of_its_definition():
    level, flat = levels_and_flatness(hiss(2.0, 0.1), RATE_HZ)
    assert level.mean() == pytest.approx(-20, abs=0.3)
    # The geometric mean of exponential variables is exp(-0.5772) of their mean; windows make bins depend on each other
    assert flat.mean() == pytest.approx(np.exp(-0.5772), abs=0.05)
    _, tone = levels_and_flatness(np.sin(np.arange(RATE_HZ)), RATE_HZ)
    assert tone.mean() < 0.02


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="cannot start at"):
        VoiceActivity(on_db=3.0, off_db=5.0)
    with pytest.raises(InputError, match="at least 0"):
        VoiceActivity(margin_s=-1)
    with pytest.raises(InputError, match="no voice to look for"):
        VoiceActivity()(np.zeros((2, 5)), RATE_HZ)
