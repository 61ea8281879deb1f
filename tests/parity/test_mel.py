"""Log-mel spectra and prosody against a slow float64 version written from the definitions, and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from omnifuse.data.audio import FLOOR, AudioPreprocessor
from omnifuse.data.mel import hann_window, hertz_to_mel, mel_filters, mel_to_hertz

DRAW = np.random.default_rng(0)


def slow_mel(hertz):
    return hertz / (200 / 3) if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def slow_filters(rate, length, count):
    """Triangle by triangle; mel inverted by bisection, so nothing is shared with the code under test."""

    def hertz_of(mel):
        low, high = 0.0, float(rate)
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if slow_mel(middle) < mel else (low, middle)
        return low

    edges = [hertz_of(mel) for mel in np.linspace(slow_mel(min(20.0, rate / 8)), slow_mel(rate / 2), count + 2)]
    filters = np.zeros((length // 2 + 1, count))
    for band in range(count):
        left, centre, right = edges[band : band + 3]
        for index in range(length // 2 + 1):
            hertz = index * rate / length
            if left < hertz <= centre:
                filters[index, band] = (hertz - left) / (centre - left)
            elif centre < hertz < right:
                filters[index, band] = (right - hertz) / (right - centre)
        if filters[:, band].sum() < 1e-3:
            filters[int(np.argmin(np.abs(np.arange(length // 2 + 1) * rate / length - centre))), band] = 1
    return filters / filters.sum(axis=0)


def slow_log_mel(samples, rate, count, window, hop):
    length = 1
    while length < window:
        length *= 2
    samples = np.asarray(samples, np.float64) - np.mean(samples)
    samples = samples / max(np.sqrt(np.mean(samples**2)), 1e-4)
    weights = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    weights /= np.sqrt(np.sum(weights**2))
    filters = slow_filters(rate, length, count)
    rows = []
    start = 0
    while start == 0 or start + window - hop < len(samples):
        frame = np.zeros(window)
        part = samples[start : start + window]
        frame[: len(part)] = part
        spectrum = np.abs(np.fft.fft(frame * weights, length)[: length // 2 + 1]) ** 2
        rows.append(np.log(spectrum @ filters + FLOOR))
        start += hop
    return np.array(rows)


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("count", [24, 64])
@pytest.mark.parametrize("num_samples", [1, 150, 401, 4000, 7333])
def test_log_mel_equals_the_slow_version(rate, count, num_samples):
    times = np.arange(num_samples) / rate
    samples = 0.3 * np.sin(2 * np.pi * 440 * times + 8 * times) + 0.02 * DRAW.normal(size=num_samples) + 0.1
    preprocessor = AudioPreprocessor(rate_hz=rate, num_mels=count, prosody=False)
    got = preprocessor(samples.astype(np.float32))["log_mel"]
    expected = slow_log_mel(samples.astype(np.float32), rate, count, round(0.025 * rate), round(0.01 * rate))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=3e-3)


def test_window_and_spectrum_equal_scipy():
    window, hop, rate = 400, 160, 16_000
    # Half a sample off SciPy's: the middle of each step, so both ends are above zero
    inner = scipy.signal.windows.hann(2 * window + 1, sym=True)[1::2]
    np.testing.assert_allclose(hann_window(window), inner / np.sqrt((inner**2).sum()), atol=1e-12)
    samples = DRAW.normal(size=4000)
    centred = samples - samples.mean()
    centred /= np.sqrt((centred**2).mean())
    _, _, spectrum = scipy.signal.stft(
        centred,
        window=inner,
        nperseg=window,
        noverlap=window - hop,
        nfft=512,
        boundary=None,
        padded=False,
        detrend=False,
    )
    power = (np.abs(spectrum * inner.sum()) ** 2 / (inner**2).sum()).T
    got = AudioPreprocessor(rate_hz=rate, num_mels=32, prosody=False)(samples.astype(np.float32))["log_mel"]
    np.testing.assert_allclose(got[: len(power)], np.log(power @ mel_filters(rate, 512, 32) + FLOOR), atol=3e-3)


def test_mel_scale_has_slaneys_values():
    np.testing.assert_allclose(hertz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0])), [0, 3, 15, 42], atol=1e-9)
    hertz = np.linspace(0, 20_000, 300)
    np.testing.assert_allclose(mel_to_hertz(hertz_to_mel(hertz)), hertz, atol=1e-6)


def test_white_noise_gives_a_flat_spectrum_at_its_power():
    samples = DRAW.normal(0, 0.3, 160_000).astype(np.float32)
    mel = np.exp(AudioPreprocessor(num_mels=20, prosody=False)(samples)["log_mel"].astype(np.float64))
    np.testing.assert_allclose(mel.mean(axis=0), 1.0, atol=0.12)


@pytest.mark.parametrize("pitch", [80.0, 150.0, 220.0, 440.0])
def test_pitch_of_a_known_tone(pitch):
    rate = 16_000
    times = np.arange(rate) / rate
    samples = sum(np.sin(2 * np.pi * pitch * harmonic * times) / harmonic for harmonic in range(1, 6))
    preprocessor = AudioPreprocessor(rate_hz=rate)
    columns = dict(zip(preprocessor.prosody_names, preprocessor(samples * 0.1)["log_mel"][:, 64:].T, strict=True))
    middle = slice(10, -10)
    np.testing.assert_allclose(columns["pitch"][middle], np.log2(pitch / 150), atol=0.02)
    assert (columns["voicing"][middle] > 0.9).all()


def test_prosody_columns_equal_their_definitions():
    rate, window, hop = 16_000, 400, 160
    samples = DRAW.normal(0, 0.2, 8000).astype(np.float32)
    preprocessor = AudioPreprocessor(rate_hz=rate)
    columns = dict(zip(preprocessor.prosody_names, preprocessor(samples)["log_mel"][:, 64:].T, strict=True))
    scaled = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    scaled /= np.sqrt((scaled**2).mean())
    weights = hann_window(window)
    for frame in (0, 7, 40):
        part = scaled[frame * hop : frame * hop + window]
        spectrum = np.abs(np.fft.rfft(part * weights, 512)) ** 2
        frequency = np.linspace(0, 1, 257)
        centroid = (spectrum * frequency).sum() / spectrum.sum()
        spread = np.sqrt((spectrum * (frequency - centroid) ** 2).sum() / spectrum.sum())
        crossings = np.mean(np.signbit(part[1:]) != np.signbit(part[:-1]))
        assert columns["centroid"][frame] == pytest.approx(centroid, abs=1e-4)
        assert columns["spread"][frame] == pytest.approx(spread, abs=1e-4)
        assert columns["zero_crossings"][frame] == pytest.approx(crossings, abs=1e-6)
        assert columns["log_energy"][frame] == pytest.approx(np.log(((part * weights) ** 2).sum()), abs=0.03)
