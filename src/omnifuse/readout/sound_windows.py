"""A sound that comes in blocks, cut into overlapping windows; no more than one window is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from omnifuse.errors import InputError

# Windows are no shorter, since words at the edges are heard badly, and overlap by this share
SHORTEST_S, LONGEST_S, OVERLAP = 6.0, 30.0, 0.25


@dataclass(frozen=True, eq=False)
class SoundWindow:
    """Samples of a stretch of a sound.

    Attributes:
        start_s: When it begins.
        samples: (S,).
        end_s: When it ends.
    """

    start_s: float
    samples: np.ndarray
    end_s: float


def window_length(longest_s: float, max_seconds: float) -> float:
    """Seconds of a window for a model: about as long as the longest sound that it learnt from.

    Args:
        longest_s: Of the sounds learnt from.
        max_seconds: What the model reads at most.
    """
    return min(max(1.25 * longest_s, SHORTEST_S), LONGEST_S, max_seconds)


def sound_windows(
    blocks: Iterable[np.ndarray], rate_hz: int, *, window_s: float, overlap_s: float
) -> Iterator[SoundWindow]:
    """Windows of a sound.

    Args:
        blocks: Samples in order.
        rate_hz: Their rate.
        window_s: Of each window; the last one ends with the sound and is as long, where the sound is.
        overlap_s: What neighbours have at least in common.

    Yields:
        Windows in order; one, perhaps empty, of a sound that fits into a window.

    Raises:
        InputError: The overlap is no part of the window.
    """
    size, shared = round(window_s * rate_hz), round(overlap_s * rate_hz)
    if not 0 < shared < size:
        raise InputError(f"windows of {window_s} s cannot overlap by {overlap_s} s")
    held, start, count = np.zeros(0, np.float32), 0, 0

    def window(first: int) -> SoundWindow:
        samples = held[first : first + size]
        return SoundWindow((start + first) / rate_hz, samples.copy(), (start + first + len(samples)) / rate_hz)

    at = 0
    for block in blocks:
        for begin in range(0, len(block), size):
            held = np.concatenate([held, block[begin : begin + size]])
            # A window is given once it is known that the sound goes on behind it
            while len(held) - at > size:
                yield window(at)
                count += 1
                at += size - shared
            # What the last window may still need, should the sound end now
            spare = min(at, max(0, len(held) - size))
            held, start, at = held[spare:], start + spare, at - spare
    if not count:
        yield window(0)
    elif len(held) - at > shared:
        # Else the last window has all of it
        yield window(max(0, len(held) - size))
