"""Where a sound holds speech: loud enough above the noise, and not as flat as noise, with hysteresis.

Speech starts where the level rises well above that of the noise and the spectrum shows the peaks of a voice; it goes
on while the level stays above a lower mark, so that soft ends and hissing consonants are kept; short gaps are bridged.

References: Sohn et al. 1999, A Statistical Model-Based Voice Activity Detection (the hang-over); Gray and Markel 1974,
A Spectral-Flatness Measure for Studying the Autocorrelation Method of Linear Prediction of Speech Analysis.

Shapes: S samples, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.data.mel import count_frames, frames_of, hann_window
from omnifuse.errors import InputError

WINDOW_S, HOP_S = 0.025, 0.010
# Voices have their peaks here
_LOWEST_HZ, _HIGHEST_HZ = 100.0, 4000.0
# Full scale is 0 dB; what is quieter is silence, however quiet the rest
_SILENCE_DB = -60.0
# The level of the noise is at most so far below that of the loudest frames
_WIDEST_DB = 35.0
_FRAMES_AT_ONCE = 4096


@dataclass(frozen=True)
class SpeechSpan:
    """A stretch of speech in seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class VoiceActivity:
    """Find speech.

    Args:
        on_db: Level above the noise at which speech starts.
        off_db: Level above the noise under which it ends; below `on_db`.
        flatness: Geometric over arithmetic mean of the power spectrum, 0 (one tone) to 1 (even); white noise gives
            about 0.56. Speech starts only in frames that are less flat than this.
        least_speech_s: Shorter stretches are dropped.
        least_silence_s: Shorter gaps are bridged.
        margin_s: Added before and behind each stretch.
    """

    on_db: float = 9.0
    off_db: float = 5.0
    flatness: float = 0.4
    least_speech_s: float = 0.09
    least_silence_s: float = 0.3
    margin_s: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.off_db <= self.on_db or not 0 < self.flatness <= 1:
            raise InputError(
                f"speech cannot start at {self.on_db} dB, end at {self.off_db} dB and be flatter than {self.flatness}",
                fix="Give levels above 0 dB, the one at which speech ends being the lower, and a flatness from 0 to 1",
            )
        if min(self.least_speech_s, self.least_silence_s, self.margin_s) < 0:
            raise InputError("times of speech and silence are at least 0")

    def __call__(self, samples: np.ndarray, rate_hz: int) -> list[SpeechSpan]:
        """Stretches of speech in order, none overlapping.

        Args:
            samples: (S,) full scale 1; S = 0 is legal, samples that are not finite count as 0.
            rate_hz: Sampling rate.

        Returns:
            No stretch for silence and for steady noise.
        """
        active = self.frames(samples, rate_hz)
        duration_s = len(samples) / rate_hz
        edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
        spans: list[SpeechSpan] = []
        # A frame stands for the middle of its window
        middle = (WINDOW_S - HOP_S) / 2
        for first, last in edges.reshape(-1, 2):
            start, end = first * HOP_S + middle, last * HOP_S + middle
            if spans and start - spans[-1].end_s < self.least_silence_s:
                spans[-1] = SpeechSpan(spans[-1].start_s, end)
            else:
                spans.append(SpeechSpan(start, end))
        long = [span for span in spans if span.end_s - span.start_s >= self.least_speech_s]
        return [
            SpeechSpan(max(0.0, span.start_s - self.margin_s), min(duration_s, span.end_s + self.margin_s))
            for span in long
        ]

    def frames(self, samples: np.ndarray, rate_hz: int) -> np.ndarray:
        """bool (F,): frames of speech, one each 10 ms, before gaps are bridged."""
        level, flat = levels_and_flatness(samples, rate_hz)
        noise = _noise_level(level)
        start = (level >= noise + self.on_db) & (level > _SILENCE_DB) & (flat <= self.flatness)
        goes_on = (level >= noise + self.off_db) & (level > _SILENCE_DB)
        # A stretch of frames that go on counts where speech starts in it: also the soft frames before the start
        runs = np.cumsum(np.diff(np.concatenate([[False], goes_on])) & goes_on)
        with_start = np.unique(runs[start & goes_on])
        return goes_on & np.isin(runs, with_start)


def _noise_level(level: np.ndarray) -> float:
    """Of the quietest tenth of the frames, but not far below the loudest ones, so that hiss in a pause is no speech."""
    low, high = np.percentile(level, [10, 95])
    return float(max(low, high - _WIDEST_DB))


def levels_and_flatness(samples: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Level in dB below full scale and spectral flatness of each frame of 25 ms, one each 10 ms.

    Args:
        samples: (S,) full scale 1.
        rate_hz: Sampling rate, at least 1000 Hz.

    Returns:
        Two arrays (F,), F >= 1.

    Raises:
        InputError: The samples are not one row, or the rate is too low.
    """
    sound = np.asarray(samples)
    if sound.ndim != 1 or rate_hz < 1000:
        raise InputError(f"a sound of shape {sound.shape} at {rate_hz} Hz has no voice to look for")
    full = np.iinfo(sound.dtype).max if sound.dtype.kind in "iu" else 1
    sound = np.nan_to_num(sound.astype(np.float32) / np.float32(full), nan=0.0, posinf=0.0, neginf=0.0)
    window, hop = round(WINDOW_S * rate_hz), round(HOP_S * rate_hz)
    count = count_frames(len(sound), window, hop)
    frames = frames_of(sound, window, hop, count)
    length = 1 << (window - 1).bit_length()
    weights = hann_window(window).astype(np.float32)
    low, high = (int(edge * length / rate_hz) for edge in (_LOWEST_HZ, min(_HIGHEST_HZ, 0.45 * rate_hz)))
    level, flat = np.empty(count), np.empty(count)
    for at in range(0, count, _FRAMES_AT_ONCE):
        # The mean of a frame is no sound
        part = frames[at : at + _FRAMES_AT_ONCE]
        part = part - part.mean(axis=1, keepdims=True)
        power = np.abs(np.fft.rfft(part * weights, length, axis=1)[:, max(1, low) : high + 1]) ** 2 + 1e-12
        level[at : at + len(part)] = 10 * np.log10((part**2).mean(axis=1) + 1e-12)
        flat[at : at + len(part)] = np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)
    return level, flat
