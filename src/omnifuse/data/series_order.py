"""Steps of a series in order: sorted, merged, thinned, with words on what had to be done. F steps, C channels."""

from __future__ import annotations

import itertools

import numpy as np

from omnifuse.data.decoded import TIME_ORDER, UNIT_JUMP
from omnifuse.data.media_series import RawSeries
from omnifuse.errors import MediaError

GAP_STEPS = 10
JUMP = 20
MOST_BLOCKS, BLOCK_VALUES = 20, 10


def ordered_steps(raw: RawSeries) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Sort by time and merge steps of one time.

    Args:
        raw: The series; without times its steps are a second apart.

    Returns:
        Values float64 (F, C), NaN where not observed; times float64 (F,) in seconds before the end, <= 0 and strictly
        increasing; and kind and sentence of what is not as it should be.

    Raises:
        MediaError: No time can be read.
    """
    values, times = raw.values, raw.times
    remarks: list[tuple[str, str]] = []
    if times is None:
        times = np.arange(len(values), dtype=np.float64)
    elif not raw.derived or not bool((np.diff(times) > 0).all()):
        values, times = _tidy(values, times, remarks)
    remarks = [] if raw.derived else [*remarks, *_gaps(times), *_jumps(values, raw.channels)]
    end = times[-1] if raw.end is None else max(raw.end, times[-1])
    return values, times - end, remarks


def _tidy(values: np.ndarray, times: np.ndarray, remarks: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(times)
    if not known.all():
        if not known.any():
            raise MediaError("No time of the series can be read", fix="Give seconds or dates")
        text = f"{int((~known).sum())} of {len(times)} steps have a time that cannot be read and are left out"
        remarks.append((TIME_ORDER, text))
        values, times = values[known], times[known]
    late = int((np.diff(times) < 0).sum())
    if late:
        remarks.append((TIME_ORDER, f"{late} of {len(times)} steps are earlier than the step before and were sorted"))
    if not late and bool((np.diff(times) > 0).all()):
        return values, times
    # By the values too, so that the mean of steps of one time does not depend on their order, to the last bit
    order = np.lexsort((*values.T[::-1], times))
    values, times = values[order], times[order]
    starts = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0)
    again = len(times) - len(starts)
    if again:
        remarks.append((TIME_ORDER, f"{again} of {len(times)} steps repeat the time of another; their mean is taken"))
        values, times = block_means(values, starts), times[starts]
    return values, times


def block_means(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Means of what was observed in consecutive blocks of steps: (F, C) to (B, C), NaN where nothing was."""
    observed = ~np.isnan(values)
    counts = np.add.reduceat(observed.astype(np.float64), starts, axis=0)
    totals = np.add.reduceat(np.where(observed, values, 0.0), starts, axis=0)
    return np.asarray(np.where(counts > 0, totals / np.maximum(counts, 1), np.nan))


def _gaps(times: np.ndarray) -> list[tuple[str, str]]:
    steps = np.diff(times)
    if not len(steps):
        return []
    long = steps[steps > GAP_STEPS * float(np.median(steps))]
    if not len(long):
        return []
    return [
        (TIME_ORDER, f"{len(long)} gaps are more than {GAP_STEPS} times the usual step, the longest {long.max():g} s")
    ]


def _jumps(values: np.ndarray, channels: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for channel in range(values.shape[1]):
        places = np.flatnonzero(~np.isnan(values[:, channel]))
        starts = jump_starts(values[places, channel])
        if starts:
            name = f"'{channels[channel]}'" if channels else f"channel {channel + 1}"
            text = f"{name} becomes more than {JUMP} times larger or smaller about step {places[starts[0]] + 1}: check "
            found.append((UNIT_JUMP, text + "whether the unit changed"))
    return found


def jump_starts(values: np.ndarray) -> list[int]:
    """First places of blocks whose median is far from that of the block before; slow growth is no jump.

    What swings about 0 has no unit to be told by its size: only blocks of one sign are compared.

    Args:
        values: (F,) finite, in the order of time.
    """
    count = min(len(values) // BLOCK_VALUES, MOST_BLOCKS)
    if count < 2:
        return []
    edges = np.linspace(0, len(values), count + 1).astype(np.int64)
    blocks = [values[start:stop] for start, stop in itertools.pairwise(edges)]
    one_sign = [bool((block >= 0).all() or (block <= 0).all()) for block in blocks]
    medians = [abs(float(np.median(block))) if same else 0.0 for block, same in zip(blocks, one_sign, strict=True)]
    return [
        int(start)
        for start, one, two in zip(edges[1:-1], medians, medians[1:], strict=False)
        if min(one, two) > 0 and max(one, two) > JUMP * min(one, two)
    ]


def thinned_steps(values: np.ndarray, times: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over `most` equal stretches of time where there are more steps; a stretch without a step is left out.

    Args:
        values: (F, C), NaN where not observed.
        times: (F,) increasing.
        most: Largest number of steps.
    """
    if len(times) <= most:
        return values, times
    span = max(float(times[-1] - times[0]), 1e-300)
    place = np.minimum((times - times[0]) / span * most, most - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(place, prepend=-1) > 0)
    counts = np.diff(np.append(starts, len(times)))
    return block_means(values, starts), np.add.reduceat(times, starts) / counts
