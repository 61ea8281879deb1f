"""Sounds to log-mel frames and prosody; the numbers themselves are checked in parity/test_mel.py."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omnifuse.data.audio import LEVELS, AudioPreprocessor, suggest_audio_rate
from omnifuse.data.prosody import PROSODY_NAMES, pitch_track, resampled_track, zero_crossings
from omnifuse.errors import InputError, MediaError

DRAW = np.random.default_rng(0)
NOISE = DRAW.normal(0, 0.1, 16_000).astype(np.float32)


def features(samples, **options):
    return AudioPreprocessor(**options)(samples)["log_mel"]


@pytest.mark.parametrize("num_samples", [0, 1, 399, 400, 401, 560, 561, 16_000])
def test_frames_cover_every_sample(num_samples):
    got = features(NOISE[:num_samples])
    assert got.dtype == np.float32
    assert got.shape == (1 + max(0, -(-(num_samples - 400) // 160)), 64 + len(PROSODY_NAMES))
    assert np.isfinite(got).all()


@pytest.mark.parametrize("rate_hz", [1000, 4000, 8000, 11_025, 44_100, 96_000])
def test_every_rate_gives_finite_columns(rate_hz):
    got = features(DRAW.normal(0, 0.1, rate_hz // 2).astype(np.float32), rate_hz=rate_hz)
    assert got.shape[0] in range(47, 51)
    assert np.isfinite(got).all()


def test_without_prosody_the_mel_bands_are_the_same():
    with_columns, without = features(NOISE), features(NOISE, prosody=False)
    np.testing.assert_array_equal(with_columns[:, :64], without)
    preprocessor = AudioPreprocessor(prosody=False, num_mels=40)
    assert preprocessor.prosody_names == ()
    assert preprocessor.num_columns == features(NOISE, prosody=False, num_mels=40).shape[1] == 40


def test_level_makes_loudness_count_or_not():
    for level in ("rms", "peak"):
        np.testing.assert_allclose(features(NOISE, level=level), features(NOISE * 0.2, level=level), atol=1e-2)
    louder, quieter = features(NOISE, level="none"), features(NOISE * 0.1, level="none")
    np.testing.assert_allclose((louder - quieter)[:, :64], np.log(100), atol=0.05)


def test_silence_is_not_lifted_to_full_level():
    silence = features(np.zeros(8000, np.float32))
    hum = features((1e-6 * np.sin(np.arange(8000))).astype(np.float32))
    assert (silence[:, :64] < -13).all()
    assert hum[:, :64].max() < -5


def test_long_sounds_are_cut_and_say_so():
    preprocessor = AudioPreprocessor(max_seconds=0.5)
    assert preprocessor.is_cut(NOISE)
    assert not preprocessor.is_cut(NOISE[:8000])
    # Level and mean are those of the part that is used
    np.testing.assert_array_equal(preprocessor(NOISE)["log_mel"], preprocessor(NOISE[:8000])["log_mel"])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300, 3e38, 1e-42])
def test_t12_wild_samples_give_finite_features_without_a_warning(value, level):
    samples = NOISE.astype(np.float64)
    samples[100:200] = value
    samples[300] = -value
    assert np.isfinite(features(samples, level=level)).all()


def test_samples_that_are_not_finite_count_as_silence():
    holed, silent = NOISE.copy(), NOISE.copy()
    holed[50:90] = np.nan
    silent[50:90] = 0
    np.testing.assert_array_equal(features(holed), features(silent))


@pytest.mark.parametrize("level", LEVELS)
def test_integers_have_the_full_scale_of_their_type(level):
    whole = np.round(NOISE * 32767).astype(np.int16)
    np.testing.assert_allclose(features(whole, level=level), features(whole / 32767.0, level=level), atol=1e-3)
    assert features(np.zeros(0, np.int16), level=level).shape[0] == 1


def test_input_is_left_as_it_was():
    given = NOISE.copy()
    features(given)
    np.testing.assert_array_equal(given, NOISE)


@pytest.mark.parametrize("value", [np.zeros((10, 2)), np.zeros(4, bool), np.array(["a"]), np.array(1.0)])
def test_array_that_is_no_sound(value):
    with pytest.raises(MediaError, match=r"expected float \(samples,\)"):
        AudioPreprocessor()(value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "rsm"}, "Unknown level 'rsm'.*did you mean 'rms'"),
        ({"rate_hz": 10}, "rate_hz must be 1000 to 192000, received 10"),
        ({"num_mels": 0}, "num_mels must be 1 to 512"),
        ({"window_s": 0}, "window_s must be"),
        ({"hop_s": 5.0}, "hop_s must be"),
        ({"max_seconds": float("nan")}, "max_seconds must be .* received nan"),
    ],
)
def test_options_out_of_their_limits(options, words):
    with pytest.raises(InputError, match=words):
        AudioPreprocessor(**options)


def test_rate_is_the_median_of_the_data():
    assert suggest_audio_rate([]) == 16_000
    assert suggest_audio_rate([8000, 8000, 44_100]) == 8000
    assert suggest_audio_rate(iter([44_100])) == 16_000
    assert suggest_audio_rate([100]) == 1000
    assert AudioPreprocessor.fit([8000], num_mels=40) == AudioPreprocessor(rate_hz=8000, num_mels=40)
    assert AudioPreprocessor.fit([8000], rate_hz=16_000).rate_hz == 16_000


def test_json_and_back():
    one = AudioPreprocessor(8000, 40, 0.03, 0.012, 5.0, "peak", False)
    assert AudioPreprocessor.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_zero_crossings_are_counted_beyond_the_reach_of_float32():
    samples = np.tile(np.array([1, -1], np.float32), 8_500_000)
    shares = zero_crossings(samples, 100, 1_000_000, 17)
    np.testing.assert_allclose(shares, 1.0)


def test_pitch_is_held_where_there_is_no_voice():
    rate = 16_000
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(rate // 2) / rate)
    samples = np.concatenate([np.zeros(4000), tone, np.zeros(4000)]).astype(np.float32)
    pitch, voicing = pitch_track(samples, rate, 320)
    np.testing.assert_allclose(pitch, np.log2(200 / 150), atol=0.05)
    assert (voicing[:8] < 0.1).all()
    assert (voicing[20:30] > 0.9).all()
    assert not pitch_track(np.zeros(4000, np.float32), rate, 320)[0].any()


def test_tracks_are_repeated_and_lengthened():
    track = np.array([1.0, 2.0], np.float32)
    np.testing.assert_array_equal(resampled_track(track, 3, 2), [1, 1, 2])
    np.testing.assert_array_equal(resampled_track(track, 6, 2), [1, 1, 2, 2, 2, 2])
