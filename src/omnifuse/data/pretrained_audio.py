"""Sounds as a pretrained backbone was taught to hear them: Whisper's log-mel, or the normalised samples themselves.

Both come in chunks, so that a short sound takes little room and a chunk is a token: S samples, C chunks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.backbone import Backbone
from omnifuse.data.mel import hertz_to_mel, mel_to_hertz
from omnifuse.errors import InputError, MediaError

# Frames of a chunk of Whisper: 0.6 s, 30 of its tokens
CHUNK_FRAMES = 60
# Samples of a chunk of wav2vec 2.0: 0.2 s, 10 of its tokens
CHUNK_SAMPLES = 3200
# No power below this is told apart, and nothing that is 80 dB below the loudest
_LEAST_POWER, _RANGE = 1e-10, 8.0
_MEL_TOP_HZ = 8000.0


def _samples(value: Any, most: int) -> np.ndarray:
    """Finite float32 samples, full scale 1, at most so many."""
    samples = np.asarray(value)
    if samples.ndim != 1 or samples.dtype.kind not in "fiu":
        raise MediaError(f"The sound is an array of {samples.dtype} {samples.shape}, expected float (samples,)")
    full_scale = np.iinfo(samples.dtype).max if samples.dtype.kind in "iu" else 1
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.nan_to_num((samples[:most] / full_scale).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(found, -1e4, 1e4)


@dataclass(frozen=True)
class WhisperSound:
    """Mono samples to Whisper's log-mel frames.

    Args:
        backbone: What reads them.
        num_mels: Bands.
        rate_hz: Rate at which samples are handed in.
        hop: Samples between frames.
        fft_length: Samples of a frame.
        max_seconds: Longest part that is read; the encoder fills a shorter one up with silence.
    """

    backbone: Backbone
    num_mels: int = 80
    rate_hz: int = 16_000
    hop: int = 160
    fft_length: int = 400
    max_seconds: float = 30.0

    kind: ClassVar[str] = "audio"
    stored_kind: ClassVar[str] = "pretrained-whisper"
    augmented: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits = {
            "num_mels": (1, 512),
            "rate_hz": (1000, 192_000),
            "hop": (1, 10_000),
            "fft_length": (2, 16_384),
            "max_seconds": (0.01, 600.0),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be {low} to {high}, received {getattr(self, name)}")

    @property
    def chunk_s(self) -> float:
        """Seconds of a chunk."""
        return CHUNK_FRAMES * self.hop / self.rate_hz

    @property
    def num_samples(self) -> int:
        """Of the longest part that is read."""
        return int(self.max_seconds * self.rate_hz)

    def is_cut(self, value: np.ndarray) -> bool:
        """True where the samples are longer than what is read of them."""
        return len(value) > self.num_samples

    def __call__(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """Samples (S,) at `rate_hz` to ``log_mel`` float32 (C, 60, num_mels).

        Raises:
            MediaError: The array is not one row of samples.
        """
        samples = _samples(value, self.num_samples)
        total = self.num_samples // self.hop
        # Frames that hear a sample, the last one that half hears it among them
        heard = min(total, -(-(len(samples) + self.fft_length // 2) // self.hop) + 1)
        chunks = max(1, -(-heard // CHUNK_FRAMES))
        frames = min(total, chunks * CHUNK_FRAMES)
        padded = np.zeros(self.num_samples, np.float64)
        padded[: len(samples)] = samples
        padded = np.pad(padded, self.fft_length // 2, mode="reflect")
        cut = np.lib.stride_tricks.sliding_window_view(padded, self.fft_length)[:: self.hop][:frames]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.fft_length) / self.fft_length)
        powers = np.abs(np.fft.rfft(cut * window, axis=1)) ** 2
        found = np.log10(
            np.maximum(powers @ slaney_filters(self.rate_hz, self.fft_length, self.num_mels), _LEAST_POWER)
        )
        found = (np.maximum(found, found.max() - _RANGE) + 4.0) / 4.0
        result = np.full((chunks * CHUNK_FRAMES, self.num_mels), silence(float(found.max())), np.float32)
        result[:frames] = found
        return {"log_mel": result.reshape(chunks, CHUNK_FRAMES, self.num_mels)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"log_mel": np.zeros((0, CHUNK_FRAMES, self.num_mels), np.float32)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.stored_kind,
            "backbone": self.backbone.to_json(),
            "num_mels": self.num_mels,
            "rate_hz": self.rate_hz,
            "hop": self.hop,
            "fft_length": self.fft_length,
            "max_seconds": self.max_seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WhisperSound:
        """Inverse of `to_json`."""
        return cls(
            Backbone.from_json(data["backbone"]),
            int(data["num_mels"]),
            int(data["rate_hz"]),
            int(data["hop"]),
            int(data["fft_length"]),
            float(data["max_seconds"]),
        )


def silence(loudest: float) -> float:
    """What a band without power is after the scaling, given the largest value of the sound.

    Example:
        >>> silence(1.0), silence(-1.5)
        (-1.0, -1.5)
    """
    return max(loudest - _RANGE / 4.0, (math.log10(_LEAST_POWER) + 4.0) / 4.0)


@lru_cache(maxsize=8)
def slaney_filters(rate_hz: int, fft_length: int, num_mels: int) -> np.ndarray:
    """Triangles of equal area from 0 Hz to 8 kHz on Slaney's mel scale, float64 (fft_length // 2 + 1, num_mels)."""
    bins = np.linspace(0.0, rate_hz / 2, fft_length // 2 + 1)
    corners = mel_to_hertz(np.linspace(hertz_to_mel(0.0), hertz_to_mel(_MEL_TOP_HZ), num_mels + 2))
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))
    filters.setflags(write=False)
    return np.asarray(filters)


@dataclass(frozen=True)
class WaveSound:
    """Mono samples, brought to mean 0 and deviation 1 where the backbone was taught so.

    Args:
        backbone: What reads them.
        rate_hz: Rate at which samples are handed in.
        normalise: Whether each sound is brought to mean 0 and deviation 1.
        max_seconds: Longest part that is read.
    """

    backbone: Backbone
    rate_hz: int = 16_000
    normalise: bool = True
    max_seconds: float = 30.0

    kind: ClassVar[str] = "audio"
    stored_kind: ClassVar[str] = "pretrained-wave"
    augmented: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, low, high in (("rate_hz", 1000, 192_000), ("max_seconds", 0.01, 600.0)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be {low} to {high}, received {getattr(self, name)}")

    @property
    def chunk_s(self) -> float:
        """Seconds of a chunk."""
        return CHUNK_SAMPLES / self.rate_hz

    @property
    def num_samples(self) -> int:
        """Of the longest part that is read."""
        return int(self.max_seconds * self.rate_hz)

    def is_cut(self, value: np.ndarray) -> bool:
        """True where the samples are longer than what is read of them."""
        return len(value) > self.num_samples

    def __call__(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """Samples (S,) at `rate_hz` to ``wave`` float32 (C, 3200), the last chunk filled up with zeros.

        Raises:
            MediaError: The array is not one row of samples.
        """
        samples = _samples(value, self.num_samples)
        if self.normalise and len(samples):
            values = samples.astype(np.float64)
            samples = ((values - values.mean()) / np.sqrt(values.var() + 1e-7)).astype(np.float32)
        chunks = max(1, -(-len(samples) // CHUNK_SAMPLES))
        result = np.zeros(chunks * CHUNK_SAMPLES, np.float32)
        result[: len(samples)] = samples
        return {"wave": result.reshape(chunks, CHUNK_SAMPLES)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"wave": np.zeros((0, CHUNK_SAMPLES), np.float32)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.stored_kind,
            "backbone": self.backbone.to_json(),
            "rate_hz": self.rate_hz,
            "normalise": self.normalise,
            "max_seconds": self.max_seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WaveSound:
        """Inverse of `to_json`."""
        return cls(
            Backbone.from_json(data["backbone"]),
            int(data["rate_hz"]),
            bool(data["normalise"]),
            float(data["max_seconds"]),
        )
