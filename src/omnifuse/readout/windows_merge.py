"""Long sounds in overlapping windows: where the windows lie, and their words as one transcript, none lost or doubled.

The words of two neighbouring windows are aligned in the overlap by their text and time. The seam goes where both agree,
as near as possible to the middle of the overlap, since each window knows least about its edges.

Shapes: N and M words in an overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from omnifuse.errors import InputError
from omnifuse.readout.words import Word

# Two words are the same only where their middles are not further apart
_APART_S = 0.5
# Words with this likeness of letters, at the same time, are one word heard in two ways
_ALIKE = 0.5
# What unlike words at the same time count
_LEAST = 0.1
MOST_WINDOWS = 1_000_000

Window = tuple[float, float]


def plan_windows(duration_s: float, *, window_s: float = 30.0, overlap_s: float = 4.0) -> list[Window]:
    """Windows that cover a sound.

    Args:
        duration_s: Of the sound.
        window_s: Of each window; the last one ends with the sound and is as long, where the sound is.
        overlap_s: What neighbours have at least in common.

    Returns:
        (start, end) in seconds; one for a sound that fits into a window.

    Raises:
        InputError: The overlap is no part of the window, or there would be a million windows.

    Example:
        >>> plan_windows(70.0)
        [(0.0, 30.0), (26.0, 56.0), (40.0, 70.0)]
    """
    step = window_s - overlap_s
    if overlap_s <= 0 or step <= 0 or duration_s / step > MOST_WINDOWS or not duration_s >= 0:
        raise InputError(f"windows of {window_s} s with an overlap of {overlap_s} s do not cover {duration_s} s")
    starts = [0.0]
    while starts[-1] + window_s < duration_s:
        starts.append(min(starts[-1] + step, duration_s - window_s))
    return [(start, min(start + window_s, duration_s)) for start in starts]


def merge_windows(parts: Sequence[Sequence[Word]], windows: Sequence[Window]) -> list[Word]:
    """The words of all windows as one transcript.

    Args:
        parts: Of each window its words in order, with times from the start of the whole sound.
        windows: Their (start, end), in order, each overlapping the next.

    Returns:
        The words in order of time.

    Raises:
        InputError: There are not as many parts as windows.
    """
    if len(parts) != len(windows):
        raise InputError(f"{len(parts)} parts are not of {len(windows)} windows")
    merged: list[Word] = []
    end_s = 0.0
    for number, (words, window) in enumerate(zip(parts, windows, strict=True)):
        merged = list(words) if not number else join(merged, words, (window[0], end_s))
        end_s = window[1]
    return merged


def join(first: Sequence[Word], second: Sequence[Word], overlap: Window) -> list[Word]:
    """The words of two neighbours.

    Args:
        first: Up to the end of the overlap.
        second: From the start of the overlap.
        overlap: (start, end) in seconds.
    """
    start_s, end_s = overlap
    head = [word for word in first if word.end_s <= start_s]
    tail = [word for word in second if word.start_s >= end_s]
    left, right = first[len(head) :], second[: len(second) - len(tail)]
    pairs = aligned(left, right)
    middle = (start_s + end_s) / 2
    same = [pair for pair in pairs if left[pair[0]].text == right[pair[1]].text]
    if same:
        one, two = min(same, key=lambda pair: abs(_middle(left[pair[0]]) - middle))
        return [*head, *left[:one], _surer(left[one], right[two]), *right[two + 1 :], *tail]
    return [*head, *_by_time(left, right, pairs, middle), *tail]


def _by_time(
    left: Sequence[Word], right: Sequence[Word], pairs: Sequence[tuple[int, int]], middle: float
) -> list[Word]:
    """Without a word in common: what the first window heard before the middle, and the second behind it.

    Pairs are one word heard in two ways and come once, whichever side of the middle each lies on.
    """
    partner, taken = dict(pairs), {two for _, two in pairs}
    found = [_surer(left[one], right[two]) for one, two in partner.items()]
    found += [word for one, word in enumerate(left) if one not in partner and _middle(word) < middle]
    found += [word for two, word in enumerate(right) if two not in taken and _middle(word) >= middle]
    return sorted(found, key=_middle)


def aligned(left: Sequence[Word], right: Sequence[Word]) -> list[tuple[int, int]]:
    """Pairs of words, rising in both, that are the same word: those of the best alignment by likeness and time."""
    num, other = len(left), len(right)
    gain = np.zeros((num, other))
    for one, word in enumerate(left):
        for two, rival in enumerate(right):
            gain[one, two] = _likeness(word, rival)
    total = np.zeros((num + 1, other + 1))
    for one in range(1, num + 1):
        for two in range(1, other + 1):
            both = total[one - 1, two - 1] + gain[one - 1, two - 1]
            total[one, two] = max(both, total[one - 1, two], total[one, two - 1])
    pairs = []
    one, two = num, other
    while one and two:
        if total[one, two] == total[one - 1, two]:
            one -= 1
        elif total[one, two] == total[one, two - 1]:
            two -= 1
        else:
            one, two = one - 1, two - 1
            pairs.append((one, two))
    return pairs[::-1]


def _likeness(word: Word, rival: Word) -> float:
    """0 to 2: 0 for words that cannot be the same one."""
    apart = abs(_middle(word) - _middle(rival))
    if apart > _APART_S:
        return 0.0
    # Few pairs at the same time must count more than many that are off by a word
    near = 1 - apart / _APART_S
    if word.text == rival.text:
        return 2 * near
    alike = SequenceMatcher(None, word.text, rival.text, autojunk=False).ratio()
    # Words that lie mostly at the same time are one, however unlike they were heard
    together = min(word.end_s, rival.end_s) - max(word.start_s, rival.start_s)
    shorter = min(word.end_s - word.start_s, rival.end_s - rival.start_s)
    return max(alike, _LEAST) * near if alike >= _ALIKE or together > 0.5 * shorter > 0 else 0.0


def _middle(word: Word) -> float:
    return (word.start_s + word.end_s) / 2


def _surer(one: Word, two: Word) -> Word:
    return two if two.confidence > one.confidence else one
