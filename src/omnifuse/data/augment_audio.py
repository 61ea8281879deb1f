"""Random changes of sounds that leave their meaning. Shapes: F frames, C columns (mel bands, then prosody)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.data.audio import FLOOR
from omnifuse.data.augment_limits import check_limits
from omnifuse.data.prosody import PROSODY_NAMES

_LOG_FLOOR = np.float32(np.log(FLOOR))
_NOISE_FRAMES = 128
# Above any level of a spectrum; keeps the exponential finite whatever comes in
_HIGHEST_LOG = 60.0


@dataclass(frozen=True)
class AudioAugment:
    """What may happen to a spectrum of log powers; amounts are drawn for each sound anew.

    Noise, gain, shift of bands and masks of bands change the mel columns alone: what prosody measures (pitch, voicing)
    is robust to them. Time shift and masks in time change all columns alike.

    Args:
        num_mels: Mel columns; the others are prosody.
        shift: Largest shift in time, as a share of the frames. What comes in is silence. 0.08: words and events are
            not cut out more exactly than that.
        gain: Largest change of loudness, in decibel. 0 for sounds whose level is normalised, about 6 for others.
        noise: Share of sounds that get noise of a random colour.
        noise_db: Least and largest level of that noise, in decibel over the mean power of the sound.
        time_masks: Masks in time, each of 0 to `time_mask` of the frames.
        time_mask: Longest mask in time, as a share of the frames, set to the sound's mean spectrum.
        band_masks: Masks in frequency, each of 0 to `band_mask` bands.
        band_mask: Widest mask in frequency, in bands, set to the sound's mean.
        band_shift: Largest shift of the spectrum in bands, as of another voice; 1 of 64 bands is about 5%.
        reverberation: Share of sounds that are put into a room: each frame's power dies away over later ones.
        decay_s: Least and largest time in which the room's sound falls by 60 decibel.
        room_db: Least and largest level of the room's sound against the direct one, in decibel.
        hop_s: Seconds from frame to frame.

    References: Park et al. 2019, SpecAugment, policy LibriSpeech basic, scaled to short sounds, without time warping;
    Polack 1988 and Lebart et al. 2001 (late reverberation as noise with an exponentially falling power).
    """

    num_mels: int = 64
    shift: float = 0.08
    gain: float = 0.0
    noise: float = 0.4
    noise_db: tuple[float, float] = (-35.0, -15.0)
    time_masks: int = 2
    time_mask: float = 0.1
    band_masks: int = 1
    band_mask: int = 8
    band_shift: int = 1
    reverberation: float = 0.0
    decay_s: tuple[float, float] = (0.15, 0.8)
    room_db: tuple[float, float] = (-15.0, -3.0)
    hop_s: float = 0.01

    def __post_init__(self) -> None:
        check_limits(self, num_mels=(1, 512), shift=(0, 1), gain=(0, 60), noise=(0, 1), noise_db=(-100, 60))
        check_limits(self, time_masks=(0, 20), time_mask=(0, 1), band_masks=(0, 20), band_mask=(0, 512))
        check_limits(self, band_shift=(0, 16), reverberation=(0, 1), decay_s=(0.01, 20), room_db=(-60, 20))
        check_limits(self, hop_s=(1e-4, 1))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``log_mel`` float32 (sum F, C) of sounds with these lengths."""
        log_mel = values["log_mel"]
        if not log_mel.size:
            return values
        result = log_mel.copy()
        count = len(lengths)
        width = min(self.num_mels, log_mel.shape[1])
        shifts = np.rint(rng.uniform(-self.shift, self.shift, count) * lengths).astype(int)
        bands = rng.integers(-self.band_shift, self.band_shift + 1, count)
        gains = rng.uniform(-self.gain, self.gain, count) * np.log(10) / 10
        rooms = _Rooms.drawn(self, count, rng) if self.reverberation else None
        noisy = rng.random(count) < self.noise
        noise = _Noise.drawn(self.noise_db, width, count, rng)
        masks = rng.random((count, self.time_masks + self.band_masks, 2))
        end = 0
        for index, length in enumerate(lengths.tolist()):
            frames = result[end : end + length]
            end += length
            mel = frames[:, :width]
            _shift_time(frames, int(shifts[index]), width)
            _shift_bands(mel, int(bands[index]))
            if rooms is not None:
                rooms.add(mel, index)
            if self.gain:
                np.maximum(mel + np.float32(gains[index]), _LOG_FLOOR, out=mel)
            if noisy[index]:
                noise.add(mel, index)
            self._mask(frames, mel, masks[index])
        return {**values, "log_mel": result}

    def _mask(self, frames: np.ndarray, mel: np.ndarray, drawn: np.ndarray) -> None:
        """Masks in time and frequency from (masks, 2) shares of length and place."""
        if not len(drawn) or not len(frames):
            return
        # A product with ones sums three times as quickly as a mean along the first axis
        means = np.full(len(frames), 1 / len(frames), np.float32) @ frames
        level = _mean(means[: mel.shape[1]])
        for number, (size, place) in enumerate(drawn.tolist()):
            if number < self.time_masks:
                length = int(size * (self.time_mask * len(frames) + 1))
                start = int(place * (len(frames) - length + 1))
                frames[start : start + length] = means
            else:
                length = int(size * (min(self.band_mask, mel.shape[1]) + 1))
                start = int(place * (mel.shape[1] - length + 1))
                mel[:, start : start + length] = level


@dataclass(frozen=True)
class _Rooms:
    """For each sound the factor by which the room's power falls from frame to frame (0 = no room), and its level."""

    decays: np.ndarray
    levels: np.ndarray

    @classmethod
    def drawn(cls, policy: AudioAugment, count: int, rng: np.random.Generator) -> _Rooms:
        inside = rng.random(count) < policy.reverberation
        decays = 10 ** (-6 * policy.hop_s / rng.uniform(*policy.decay_s, count))
        return cls(np.where(inside, decays, 0.0), 10 ** (rng.uniform(*policy.room_db, count) / 10))

    def add(self, mel: np.ndarray, index: int) -> None:
        """log(exp(x) + room), in place; the room's sound of a frame comes after it."""
        decay = float(self.decays[index])
        if not decay or len(mel) < 2:
            return
        np.minimum(mel, _HIGHEST_LOG, out=mel)
        powers = np.exp(mel)
        # The sum of all later parts is the level, whatever the decay
        share = np.float32(self.levels[index] * (1 - decay))
        tail = np.zeros(mel.shape[1], np.float32)
        for place in range(1, len(powers)):
            # Silence is written as the floor and must not add up
            tail = tail * np.float32(decay) + (powers[place - 1] - np.float32(FLOOR))
            mel[place] = np.log(np.maximum(powers[place] + share * tail, np.float32(FLOOR)))


@dataclass(frozen=True)
class _Noise:
    """A stock of noise powers (N, bands), and for each sound its place there, colour (P, bands) and level."""

    stock: np.ndarray
    starts: np.ndarray
    colours: np.ndarray

    @classmethod
    def drawn(cls, level_db: tuple[float, float], bands: int, count: int, rng: np.random.Generator) -> _Noise:
        """Powers of white noise are exponentially distributed; its colour is a random slope of up to 12 decibel."""
        stock = rng.standard_exponential((_NOISE_FRAMES, bands), dtype=np.float32)
        slope = rng.uniform(-6, 6, (count, 1)) * np.linspace(-1, 1, bands)
        levels = rng.uniform(*level_db, (count, 1)) + slope
        return cls(stock, rng.integers(0, _NOISE_FRAMES, count), (10 ** (levels / 10)).astype(np.float32))

    def add(self, mel: np.ndarray, index: int) -> None:
        """log(exp(x) + noise), in place."""
        np.minimum(mel, _HIGHEST_LOG, out=mel)
        powers = np.exp(mel)
        scale = self.colours[index] * _mean(np.ones(len(mel), np.float32) @ powers) / len(mel)
        order = (self.starts[index] + np.arange(len(mel))) % _NOISE_FRAMES
        powers += self.stock[order] * scale
        np.log(np.maximum(powers, np.float32(FLOOR), out=powers), out=mel)


def _mean(values: np.ndarray) -> np.float32:
    """Mean of float32 (N,); numpy's own takes three times as long on so few."""
    return np.float32(np.add.reduce(values) / np.float32(len(values)))


def _shift_time(frames: np.ndarray, shift: int, width: int) -> None:
    """Move (F, C) by whole frames, in place; silence comes in, with the outermost frame's pitch and shape."""
    if not shift or abs(shift) >= len(frames):
        return
    moved = frames.copy()
    if shift > 0:
        frames[shift:], empty = moved[:-shift], frames[:shift]
        empty[:, width:] = moved[0, width:]
    else:
        frames[:shift], empty = moved[-shift:], frames[shift:]
        empty[:, width:] = moved[-1, width:]
    empty[:, :width] = _LOG_FLOOR
    if frames.shape[1] == width + len(PROSODY_NAMES):
        empty[:, width + PROSODY_NAMES.index("log_energy")] = _LOG_FLOOR
        empty[:, width + PROSODY_NAMES.index("voicing")] = 0


def _shift_bands(mel: np.ndarray, shift: int) -> None:
    """Move the spectrum by whole bands, in place; the outermost band is repeated."""
    if not shift or abs(shift) >= mel.shape[1]:
        return
    moved = mel.copy()
    if shift > 0:
        mel[:, shift:] = moved[:, :-shift]
        mel[:, :shift] = moved[:, :1]
    else:
        mel[:, :shift] = moved[:, -shift:]
        mel[:, shift:] = moved[:, -1:]
