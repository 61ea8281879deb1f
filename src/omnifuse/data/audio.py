"""Sound samples to log-mel spectra with prosody columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.mel import band_powers, count_frames, frames_of, hann_window, mel_filters
from omnifuse.data.prosody import PROSODY_NAMES, pitch_track, resampled_track, spectral_shape, zero_crossings
from omnifuse.errors import InputError, MediaError, did_you_mean

LEVELS = ("rms", "peak", "none")
# Power below this share of the reference counts as silence: a range of 60 dB.
FLOOR = 1e-6
DEFAULT_RATE_HZ = 16_000
# Quieter sounds are not lifted any further, so that silence stays silent.
_QUIETEST = 1e-4
# Without level normalisation, this amplitude (-20 dB) gets the power 1.
_USUAL_LEVEL = 0.1


@dataclass(frozen=True)
class AudioPreprocessor:
    """Turn mono samples into log-mel frames.

    Args:
        rate_hz: Rate at which samples are handed in.
        num_mels: Number of mel bands.
        window_s: Length of a frame.
        hop_s: Step between frames.
        max_seconds: Longer sounds are cut behind this; `is_cut` tells.
        level: "none" keeps the recorded loudness (right where it means something), "rms" brings the mean power of
            each sound to 1, "peak" its largest sample.
        prosody: Whether the columns named in `prosody_names` are appended.
    """

    rate_hz: int = DEFAULT_RATE_HZ
    num_mels: int = 64
    window_s: float = 0.025
    hop_s: float = 0.010
    max_seconds: float = 30.0
    level: str = "rms"
    prosody: bool = True

    kind: ClassVar[str] = "audio"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise InputError(f"Unknown level '{self.level}' of sounds", fix=did_you_mean(self.level, LEVELS))
        limits = {
            "rate_hz": (1000, 192_000),
            "num_mels": (1, 512),
            "window_s": (0.002, 1.0),
            "hop_s": (0.001, 1.0),
            "max_seconds": (0.01, 3600.0),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be {low} to {high}, received {getattr(self, name)}")

    @classmethod
    def fit(cls, rates: Iterable[int], **options: Any) -> AudioPreprocessor:
        """Choose the rate from the sounds' own rates.

        Args:
            rates: Sampling rates of some training sounds; may be empty.
            **options: Any constructor argument; `rate_hz` overrides the choice.

        Returns:
            The preprocessor.

        Raises:
            InputError: An argument is out of its limits.
        """
        chosen = {"rate_hz": suggest_audio_rate(rates), **options}
        return cls(**chosen)

    @property
    def prosody_names(self) -> tuple[str, ...]:
        """Names of the columns behind the mel bands; empty without prosody."""
        return PROSODY_NAMES if self.prosody else ()

    @property
    def num_columns(self) -> int:
        """Width of the result: mel bands and prosody columns."""
        return self.num_mels + len(self.prosody_names)

    def is_cut(self, value: np.ndarray) -> bool:
        """True where the samples are longer than `max_seconds` and the end is not read."""
        return len(value) > round(self.max_seconds * self.rate_hz)

    def __call__(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """Spectra of one sound.

        Args:
            value: Mono samples (S,) at `rate_hz`, full scale 1 (integers: that of their type). S = 0 is legal;
                samples that are not finite count as 0.

        Returns:
            ``log_mel`` float32 (F, num_columns), finite, F = 1 + ceil((S - window) / hop) but at least 1.

        Raises:
            MediaError: The array is not one row of samples.
        """
        samples = self._levelled(np.asarray(value))
        window, hop, fft_length = self._sizes
        num_frames = count_frames(len(samples), window, hop)
        weights, bands, widths = _tables(self.rate_hz, window, fft_length, self.num_mels)
        powers = band_powers(frames_of(samples, window, hop, num_frames), weights, fft_length, bands)
        mel, moments = powers[:, : self.num_mels], powers[:, self.num_mels :]
        result = np.empty((num_frames, self.num_columns), dtype=np.float32)
        log_mel = result[:, : self.num_mels]
        np.log(mel + np.float32(FLOOR), out=log_mel)
        if self.prosody:
            added = result[:, self.num_mels :]
            # Two sides of the spectrum but for its ends: the mean power of the frame by Parseval's theorem.
            added[:, 0] = np.log(moments[:, 0] * np.float32(2.0 / fft_length) + np.float32(FLOOR))
            pitch, voicing = pitch_track(samples, self.rate_hz, 2 * hop)
            added[:, 1] = resampled_track(pitch, num_frames, 2)
            added[:, 2] = resampled_track(voicing, num_frames, 2)
            added[:, 3] = zero_crossings(samples, window, hop, num_frames)
            added[:, 4:] = spectral_shape(mel, log_mel, moments, widths)
        return {"log_mel": result}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"log_mel": np.zeros((0, self.num_columns), np.float32)}

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Window, hop and transform length in samples."""
        window = max(2, round(self.window_s * self.rate_hz))
        return window, max(1, round(self.hop_s * self.rate_hz)), 1 << (window - 1).bit_length()

    def _levelled(self, samples: np.ndarray) -> np.ndarray:
        """Finite float32 samples without mean, cut and brought to the level."""
        if samples.ndim != 1 or samples.dtype.kind not in "fiu":
            raise MediaError(f"The sound is an array of {samples.dtype} {samples.shape}, expected float (samples,)")
        full_scale = np.iinfo(samples.dtype).max if samples.dtype.kind in "iu" else 1
        samples = samples[: round(self.max_seconds * self.rate_hz)]
        with np.errstate(over="ignore", invalid="ignore"):
            samples = samples.astype(np.float32) if full_scale == 1 else (samples / full_scale).astype(np.float32)
            # One sum tells whether all is finite; only then is a second pass needed.
            finite = not len(samples) or bool(np.isfinite(samples.sum(dtype=np.float64)))
        if not len(samples):
            return samples
        if not finite:
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        samples = np.clip(samples, -1e4, 1e4, out=samples)
        samples -= samples.mean(dtype=np.float64).astype(np.float32)
        if self.level == "none":
            reference = _USUAL_LEVEL
        elif self.level == "peak":
            reference = max(float(np.abs(samples).max()), _QUIETEST)
        else:
            reference = max(float(np.sqrt(np.dot(samples, samples) / len(samples))), _QUIETEST)
        samples *= np.float32(1.0 / reference)
        return samples

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "rate_hz": self.rate_hz,
            "num_mels": self.num_mels,
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "max_seconds": self.max_seconds,
            "level": self.level,
            "prosody": self.prosody,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AudioPreprocessor:
        """Inverse of `to_json`."""
        return cls(
            int(data["rate_hz"]),
            int(data["num_mels"]),
            float(data["window_s"]),
            float(data["hop_s"]),
            float(data["max_seconds"]),
            str(data["level"]),
            bool(data["prosody"]),
        )


def suggest_audio_rate(rates: Iterable[int]) -> int:
    """The median rate of the data, at most 16 kHz: nothing is gained by raising a rate.

    Args:
        rates: Sampling rates in Hz; empty gives 16 kHz.

    Returns:
        A rate from 1000 to 16,000 Hz.

    Example:
        >>> suggest_audio_rate([8000, 8000, 8000]), suggest_audio_rate([44100, 22050])
        (8000, 16000)
    """
    known = sorted(int(rate) for rate in rates)
    if not known:
        return DEFAULT_RATE_HZ
    return min(max(known[(len(known) - 1) // 2], 1000), DEFAULT_RATE_HZ)


@lru_cache(maxsize=32)
def _tables(rate_hz: int, window: int, fft_length: int, num_mels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Window (window,), bands (bins, num_mels + 3 moments) and width of each band in bins, float32."""
    filters = mel_filters(rate_hz, fft_length, num_mels)
    frequency = np.linspace(0.0, 1.0, fft_length // 2 + 1)[:, None]
    moments = np.concatenate([np.ones_like(frequency), frequency, frequency**2], axis=1)
    bands = np.ascontiguousarray(np.concatenate([filters, moments], axis=1), dtype=np.float32)
    # Neighbouring triangles overlap by half: a band stands for half of its sum over its peak.
    widths = 1.0 / np.maximum(filters.max(axis=0), 1e-9)
    return hann_window(window).astype(np.float32), bands, widths.astype(np.float32)
