"""How something is said: loudness, pitch, voicing and the shape of the spectrum, frame by frame."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from omnifuse.data.mel import hann_window

PROSODY_NAMES = (
    "log_energy",
    "pitch",
    "voicing",
    "zero_crossings",
    "centroid",
    "spread",
    "flatness",
    "rolloff",
)
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 60.0, 500.0
REFERENCE_PITCH_HZ = 150.0
_PITCH_WINDOW_S, _PITCH_RATE_HZ = 0.040, 8000
# Frames with a weaker peak of the autocorrelation count as unvoiced.
_VOICED = 0.45
# A longer lag must be better by this much an octave, else the shorter one is taken (P. Boersma 1993, eq. 24).
_OCTAVE_COST = 0.02


def pitch_track(samples: np.ndarray, rate_hz: int, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitch by normalised autocorrelation.

    Args:
        samples: float32 (S,).
        rate_hz: Sampling rate.
        hop: Step between the results, in samples.

    Returns:
        Pitch in octaves above 150 Hz, float32 (F',), and voicing 0 to 1, float32 (F',), with F' = ceil(S / hop) but
        at least 1. Where there is no voice the pitch of the last voiced frame is kept (of the next one at the
        start; 0 without any), so that mean and deviation over time speak of the voice alone.

    References:
        P. Boersma, Accurate short-term analysis of the fundamental frequency, IFA Proceedings 17, 1993. Changed:
        40 ms windows, no path search.
    """
    factor = max(1, round(rate_hz / _PITCH_RATE_HZ))
    # A mean over `factor` samples is filter enough below 500 Hz.
    slow = samples if factor == 1 else _averaged(samples, factor)
    rate = rate_hz / factor
    window = max(8, round(_PITCH_WINDOW_S * rate))
    shortest, longest = max(2, int(rate / HIGHEST_PITCH_HZ)), min(int(rate / LOWEST_PITCH_HZ), window * 3 // 4)
    num_frames = max(1, -(-len(samples) // hop))
    if longest - shortest < 2:
        return np.zeros(num_frames, np.float32), np.zeros(num_frames, np.float32)
    frames = _centred_frames(slow, window, hop / factor, num_frames)
    correlation = _autocorrelation(frames, window, longest + 2)
    lags, peaks = _best_lags(correlation, shortest, longest)
    voicing = np.clip(peaks, 0.0, 1.0).astype(np.float32)
    octaves = np.log2(rate / lags / REFERENCE_PITCH_HZ).astype(np.float32)
    return _held(octaves, voicing >= _VOICED), voicing


def zero_crossings(samples: np.ndarray, window: int, hop: int, num_frames: int) -> np.ndarray:
    """Share of neighbouring samples of unequal sign in each frame, float32 (F,)."""
    # Whole numbers: float32 would stop counting at 2**24
    total = np.zeros(max(len(samples), 1), dtype=np.int32)
    negative = np.signbit(samples)
    np.cumsum(negative[1:] != negative[:-1], dtype=np.int32, out=total[1:])
    starts = np.arange(num_frames) * hop
    last = len(total) - 1
    counts = total[np.minimum(starts + window - 1, last)] - total[np.minimum(starts, last)]
    return np.asarray(counts / np.float32(max(1, window - 1)), dtype=np.float32)


def spectral_shape(mel: np.ndarray, log_mel: np.ndarray, moments: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Centroid, spread, flatness and rolloff of each frame.

    Args:
        mel: Mean power of each mel band, float32 (F, bins).
        log_mel: Its logarithm with a floor, (F, bins).
        moments: Sums of power, power * f and power * f * f with f = frequency / (rate / 2), float32 (F, 3).
        widths: Number of transform bins that each band stands for, float32 (bins,).

    Returns:
        float32 (F, 4): centroid and spread as a share of half the rate; log of geometric over arithmetic mean of the
        bands; the share of bands below which 85% of the power lies. All 0 in a silent frame but flatness.
    """
    total = moments[:, 0] + np.float32(1e-9)
    centroid = moments[:, 1] / total
    spread = np.sqrt(np.maximum(moments[:, 2] / total - centroid**2, 0.0))
    flatness = log_mel.mean(axis=1) - np.log(mel.mean(axis=1) + np.float32(1e-6))
    running = np.cumsum(mel * widths, axis=1)
    below = running < 0.85 * running[:, -1:]
    rolloff = below.sum(axis=1, dtype=np.float32) / np.float32(mel.shape[1])
    return np.stack([centroid, spread, flatness, rolloff], axis=1).astype(np.float32)


def _averaged(samples: np.ndarray, factor: int) -> np.ndarray:
    whole = len(samples) // factor * factor
    return np.asarray(samples[:whole].reshape(-1, factor).mean(axis=1, dtype=np.float32))


def _centred_frames(samples: np.ndarray, window: int, hop: float, num_frames: int) -> np.ndarray:
    """Frames whose middle lies at each multiple of `hop`, which need not be whole; (num_frames, window)."""
    starts = np.round(np.arange(num_frames) * hop).astype(np.int64)
    padded = np.zeros(int(starts[-1]) + window, dtype=np.float32)
    half = min(window // 2, len(padded))
    used = min(len(samples), len(padded) - half)
    padded[half : half + used] = samples[:used]
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, window)[starts])


@lru_cache(maxsize=16)
def _window_correlation(window: int, fft_length: int, num_lags: int) -> tuple[np.ndarray, np.ndarray]:
    """The window and one over its own normalised autocorrelation, float32."""
    weights = hann_window(window)
    own = np.fft.irfft(np.abs(np.fft.rfft(weights, fft_length)) ** 2)[:num_lags]
    return weights.astype(np.float32), np.asarray(own[0] / own, dtype=np.float32)


def _autocorrelation(frames: np.ndarray, window: int, num_lags: int) -> np.ndarray:
    """Autocorrelation over that of the window, 1 at lag 0; (F, num_lags)."""
    fft_length = 1 << (window + num_lags - 1).bit_length()
    weights, correction = _window_correlation(window, fft_length, num_lags)
    correlation = np.empty((len(frames), num_lags), dtype=np.float32)
    for start in range(0, len(frames), 128):
        part = frames[start : start + 128]
        spectrum = np.fft.rfft((part - part.mean(axis=1, keepdims=True)) * weights, fft_length, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        correlation[start : start + 128] = np.fft.irfft(power, fft_length, axis=1)[:, :num_lags]
    energy = correlation[:, :1] + np.float32(1e-7)
    return np.asarray(correlation / energy * correction, dtype=np.float32)


def _best_lags(correlation: np.ndarray, shortest: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Lag (with a parabola through the peak) and height of the best peak of each frame."""
    inner = correlation[:, shortest : longest + 1]
    before, after = correlation[:, shortest - 1 : longest], correlation[:, shortest + 1 : longest + 2]
    is_peak = (inner >= before) & (inner >= after)
    cost = (_OCTAVE_COST * np.log2(np.arange(shortest, longest + 1) / shortest)).astype(np.float32)
    best = np.where(is_peak, inner - cost, np.float32(-1.0)).argmax(axis=1)
    rows = np.arange(len(correlation))
    middle, left, right = inner[rows, best], before[rows, best], after[rows, best]
    bend = left - 2.0 * middle + right
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (left - right) / np.where(bend == 0, 1.0, bend), 0.0)
    height = np.where(is_peak[rows, best], middle, np.float32(0.0))
    return best + shortest + np.clip(shift, -0.5, 0.5), height


def _held(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values where known, else the last known one, before the first known one that one, 0 if none is known."""
    if not known.any():
        return np.zeros_like(values)
    index = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.asarray(values[np.where(index < 0, int(known.argmax()), index)])


def resampled_track(track: np.ndarray, num_frames: int, step: int) -> np.ndarray:
    """Repeat each value `step` times and bring the result to `num_frames`."""
    repeated = np.repeat(track, step)[:num_frames]
    missing = num_frames - len(repeated)
    return repeated if missing <= 0 else np.concatenate([repeated, np.full(missing, track[-1], track.dtype)])
