"""Sound bytes and arrays to mono float32 at one rate, block by block: what is counted is decoded, never declared."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
import soxr

from omnifuse.errors import MediaError

_FORMATS = frozenset(("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64"))
_NAMES = "WAV, FLAC, OGG, MP3, AIFF, AU, CAF or W64"
MOST_HERTZ = 1_000_000
# Values decoded at once, over all channels
_BLOCK_VALUES = 1 << 18
MOST_CHANNELS = 64
# Of a sound that is read block by block: a week
_LONGEST_S, _MOST_BYTES = 604_800.0, 1 << 46
# Floats beyond this are noise of a broken writer; full scale is 1
_LOUDEST = 1e4


def is_audio(start: bytes) -> bool:
    """Whether the first 16 bytes show a format on the list."""
    if start[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return start[8:12] == b"WAVE"
    if start[:4] == b"FORM":
        return start[8:12] in (b"AIFF", b"AIFC")
    if start.startswith((b"fLaC", b"OggS", b"ID3", b".snd", b"dns.", b"caff", b"riff\x2e\x91\xcf\x11")):
        return True
    # MPEG: eleven set bits and a layer
    return len(start) > 2 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0 and start[1] & 0x06 != 0


class _Content(io.BytesIO):
    """Bytes as a file; a damaged header that asks for a place before the start is not answered by a traceback."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move, or stay where the place does not exist."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]
    """Reads onwards only: soundfile else seeks behind every block, and an MP3 that was sought goes on with silence."""

    def seekable(self) -> bool:
        """No."""
        return False


@contextlib.contextmanager
def _opened(source: int | bytes | bytearray, start: bytes, where: str) -> Iterator[Any]:
    """A decoder over a file descriptor or bytes."""
    if not is_audio(start):
        raise MediaError(f"The content is not {_NAMES}", where=where, fix="Convert it to WAV or FLAC")
    try:
        file = _Decoder(source if isinstance(source, int) else _Content(source), closefd=False)
    except (soundfile.SoundFileError, TypeError, ValueError, OverflowError):
        raise MediaError("The sound is damaged or of a rare kind", where=where, fix="Convert it to WAV") from None
    with file:
        if file.format not in _FORMATS:
            raise MediaError(f"The content is not {_NAMES}", where=where, fix="Convert it to WAV or FLAC")
        if not 1 <= file.samplerate <= MOST_HERTZ:
            raise MediaError(f"The sound declares {file.samplerate} samples a second", where=where)
        if file.channels > MOST_CHANNELS:
            raise MediaError(f"The sound has {file.channels} channels, at most {MOST_CHANNELS} are read", where=where)
        yield file


def sound_rate(source: int | bytes | bytearray, start: bytes, *, where: str = "") -> int:
    """Sampling rate in Hz that the header declares.

    Raises:
        MediaError: Not a sound of a known format.
    """
    with _opened(source, start, where) as file:
        return int(file.samplerate)


def decode_audio(
    source: int | bytes | bytearray, start: bytes, *, rate_hz: int, max_s: float, max_bytes: int, where: str = ""
) -> tuple[np.ndarray, str]:
    """Decode a sound.

    Args:
        source: File descriptor (left open) or content.
        start: Its first bytes.
        rate_hz: Rate of the result.
        max_s: Longer sounds are cut here.
        max_bytes: Sounds that decode (as float32, all channels) to more within `max_s` are refused.
        where: For error messages.

    Returns:
        float32 (S,), finite: the mean of the channels; samples that are not finite become 0. And a sentence on how
        many these were, "" where none was.

    Raises:
        MediaError: Not a sound of a known format, damaged, too large, or without samples.
    """
    with _opened(source, start, where) as file:
        return resample_blocks(_blocks(file, max_s, max_bytes, where), int(file.samplerate), rate_hz, where)


def read_blocks(
    source: int | bytes | bytearray, start: bytes, *, rate_hz: int, where: str = ""
) -> Iterator[np.ndarray]:
    """A sound of any length, block by block, in bounded memory.

    Args:
        source: File descriptor (left open) or content.
        start: Its first bytes.
        rate_hz: Rate of the result.
        where: For error messages.

    Yields:
        float32 (S,) finite, the mean of the channels; S = 0 may occur.

    Raises:
        MediaError: Not a sound of a known format, or damaged.
    """
    with _opened(source, start, where) as file:
        rate = int(file.samplerate)
        stream = None if rate == rate_hz else soxr.ResampleStream(rate, rate_hz, 1, dtype="float32")
        for mono, _, _ in _blocks(file, _LONGEST_S, _MOST_BYTES, where):
            yield mono if stream is None else stream.resample_chunk(mono)
        if stream is not None:
            yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def array_sound(samples: np.ndarray, rate: int, *, rate_hz: int, max_s: float) -> tuple[np.ndarray, str]:
    """An array of samples as `decode_audio` returns it.

    Args:
        samples: (S,) or (S, channels); floats with full scale 1, or integers with their type's full scale.
        rate: Rate of the samples in Hz.
        rate_hz: Rate of the result.
        max_s: Longer sounds are cut here.

    Raises:
        MediaError: Another shape or type, or without samples.
    """
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fiu":
        raise MediaError(
            f"The sound is an array of {samples.dtype} {samples.shape}, expected numbers (samples,) or "
            "(samples, channels)"
        )
    if not 1 <= rate <= MOST_HERTZ:
        raise MediaError(f"The rate of the sound is {rate}, expected 1 to {MOST_HERTZ} samples a second")
    if samples.ndim == 2 and not 1 <= samples.shape[1] <= MOST_CHANNELS:
        raise MediaError(
            f"The sound is an array of shape {samples.shape}, expected (samples, at most {MOST_CHANNELS} channels)",
            fix="Give array.T where the channels come first",
        )
    used = samples[: int(np.ceil(max_s * rate))]
    step = max(1, _BLOCK_VALUES // (samples.shape[1] if samples.ndim == 2 else 1))
    blocks = (mono_block(_floats(used[begin : begin + step])) for begin in range(0, len(used), step))
    return resample_blocks(blocks, rate, rate_hz, "")


def _floats(samples: np.ndarray) -> np.ndarray:
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return samples.astype(np.float32, copy=False)
    limits = np.iinfo(samples.dtype)
    middle = 0 if limits.min < 0 else (limits.max + 1) // 2
    return ((samples.astype(np.float64) - middle) / (limits.max + 1 - middle)).astype(np.float32)


def _blocks(file: Any, max_s: float, max_bytes: int, where: str) -> Iterator[tuple[np.ndarray, bool, int]]:
    """Mono blocks until the sound, the time or the budget ends."""
    frame_bytes = 4 * file.channels
    left = int(np.ceil(max_s * file.samplerate))
    # The declared length only makes the first buffer smaller than it might be
    size = max(256, min(_BLOCK_VALUES // file.channels, file.frames + 1, left))
    buffer = np.empty((size, file.channels), np.float32)
    used = 0
    while left > 0:
        try:
            block = file.read(out=buffer[: min(size, left)])
        except (soundfile.SoundFileError, RuntimeError, ValueError):
            raise MediaError("The sound is damaged in its middle", where=where, fix="Convert it to WAV") from None
        if not len(block):
            return
        left -= len(block)
        used += len(block) * frame_bytes
        if used > max_bytes:
            raise MediaError(
                f"The sound has more than {max_bytes / 2**20:.0f} MB of samples ({file.channels} channels at "
                f"{file.samplerate} Hz)",
                where=where,
                fix="Lower its rate, or cut it",
            )
        yield mono_block(block)


def mono_block(block: np.ndarray) -> tuple[np.ndarray, bool, int]:
    """Mean of the channels, finite, in an array of its own; whether any sample was finite, and how many were not."""
    with np.errstate(all="ignore"):
        mono = _mean(block)
        # One sum of squares tells whether all is finite; only then is a second pass needed
        if np.isfinite(np.dot(mono, mono)):
            return mono, True, 0
        known = np.isfinite(block)
        mono = _mean(np.where(known, block, np.float32(0.0)).clip(-_LOUDEST, _LOUDEST))
    num_bad = len(known) - int(np.count_nonzero(known.reshape(len(known), -1).all(axis=1)))
    return mono, bool(known.any()), num_bad


def _mean(block: np.ndarray) -> np.ndarray:
    if block.ndim == 1:
        return np.array(block, np.float32)
    channels = block.shape[1]
    return block[:, 0].copy() if channels == 1 else np.dot(block, np.full(channels, 1.0 / channels, np.float32))


def resample_blocks(
    blocks: Iterator[tuple[np.ndarray, bool, int]], rate: int, rate_hz: int, where: str
) -> tuple[np.ndarray, str]:
    """All blocks at the wanted rate, and a sentence on samples that were not finite."""
    stream = None if rate == rate_hz else soxr.ResampleStream(rate, rate_hz, 1, dtype="float32")
    parts: list[np.ndarray] = []
    any_known, count, num_bad = False, 0, 0
    for mono, known, bad in blocks:
        any_known |= known
        count += len(mono)
        num_bad += bad
        parts.append(mono if stream is None else stream.resample_chunk(mono))
    if not count:
        raise MediaError("The sound has no samples", where=where, fix="Record it again")
    if not any_known:
        raise MediaError("Not one sample of the sound is a finite number", where=where, fix="Record it again")
    if stream is not None:
        parts.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    sound = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not len(sound):
        raise MediaError(f"The sound is shorter than a sample at {rate_hz} Hz", where=where, fix="Record it again")
    return sound, f"{num_bad} of {count} samples are not finite numbers and count as 0" if num_bad else ""
