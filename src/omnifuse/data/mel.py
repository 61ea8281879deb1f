"""Short-time spectra on the mel scale, in float32 numpy: filters, frames and power spectra."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# At most this many frames are transformed at once: the working set stays in the processor's cache.
_FRAMES_AT_ONCE = 128


def hertz_to_mel(hertz: np.ndarray | float) -> np.ndarray:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above.

    References:
        M. Slaney, Auditory Toolbox, Interval Research technical report 1998-010.
    """
    hertz = np.asarray(hertz, dtype=np.float64)
    linear = hertz * 3.0 / 200.0
    logarithmic = 15.0 + np.log(np.maximum(hertz, 1000.0) / 1000.0) * (27.0 / np.log(6.4))
    return np.where(hertz < 1000.0, linear, logarithmic)


def mel_to_hertz(mel: np.ndarray | float) -> np.ndarray:
    """Inverse of `hertz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    logarithmic = 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * (np.log(6.4) / 27.0))
    return np.where(mel < 15.0, mel * 200.0 / 3.0, logarithmic)


@lru_cache(maxsize=32)
def mel_filters(rate_hz: int, fft_length: int, num_mels: int) -> np.ndarray:
    """Triangular filters, evenly spaced in mel from 20 Hz to half the rate.

    Args:
        rate_hz: Sampling rate.
        fft_length: Length of the transform, even.
        num_mels: Number of filters.

    Returns:
        float64 (fft_length // 2 + 1, num_mels); each column sums to 1, so a filter gives the mean power of its band
        and white noise gives a flat spectrum. A band narrower than the bin spacing takes its nearest bin.
    """
    bins = np.arange(fft_length // 2 + 1) * (rate_hz / fft_length)
    top = hertz_to_mel(rate_hz / 2)
    corners = mel_to_hertz(np.linspace(hertz_to_mel(min(20.0, rate_hz / 8)), top, num_mels + 2))
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    for index in np.flatnonzero(filters.sum(axis=0) < 1e-3):
        filters[np.abs(bins - centre[index]).argmin(), index] = 1.0
    filters /= filters.sum(axis=0)
    filters.setflags(write=False)
    return np.asarray(filters)


@lru_cache(maxsize=32)
def hann_window(length: int) -> np.ndarray:
    """Hann window sampled between its zeros, float64 (length,), scaled to a sum of squares of 1."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(length) + 0.5) / length)
    window /= np.sqrt((window**2).sum())
    window.setflags(write=False)
    return window


def count_frames(num_samples: int, window: int, hop: int) -> int:
    """Frames that cover all samples, the last one zero-padded; at least 1."""
    return 1 + max(0, -(-(num_samples - window) // hop))


def frames_of(samples: np.ndarray, window: int, hop: int, num_frames: int) -> np.ndarray:
    """Overlapping frames (num_frames, window) of samples (S,), a read-only view of a zero-padded copy."""
    needed = (num_frames - 1) * hop + window
    padded = np.zeros(needed, dtype=samples.dtype)
    padded[: min(needed, len(samples))] = samples[:needed]
    return np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]


def band_powers(frames: np.ndarray, window: np.ndarray, fft_length: int, bands: np.ndarray) -> np.ndarray:
    """Power spectra of frames, summed by columns of weights.

    Args:
        frames: float32 (F, window).
        window: float32 (window,).
        fft_length: Frames are zero-padded to this length.
        bands: float32 (fft_length // 2 + 1, C).

    Returns:
        float32 (F, C).
    """
    num_frames, length = frames.shape
    num_bands = bands.shape[1]
    powers = np.empty((num_frames, num_bands), dtype=np.float32)
    step = max(1, min(num_frames, _FRAMES_AT_ONCE))
    # All buffers are made once: fresh ones of this size cost more page faults than the transform costs time.
    padded = np.zeros((step, fft_length), dtype=np.float32)
    spectrum = np.empty((step, fft_length // 2 + 1), dtype=np.complex64)
    power, imaginary = np.empty_like(spectrum, dtype=np.float32), np.empty_like(spectrum, dtype=np.float32)
    for start in range(0, num_frames, step):
        count = min(step, num_frames - start)
        np.multiply(frames[start : start + count], window, out=padded[:count, :length])
        np.fft.rfft(padded[:count], axis=1, out=spectrum[:count])
        np.square(spectrum.real[:count], out=power[:count])
        np.square(spectrum.imag[:count], out=imaginary[:count])
        power[:count] += imaginary[:count]
        np.matmul(power[:count], bands, out=powers[start : start + count])
    return powers
