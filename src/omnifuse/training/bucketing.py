"""Batches of rows of like length, so that little is computed for padding. Shapes: R rows, F fields, L blocks."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# Batches that are put in order of length together: more pad less, fewer mix rows more. An epoch of few batches has two
# neighbourhoods at least, so that the next one brings other rows together
NEIGHBOURHOOD, FEWEST = 40, 2
# A batch holds from a quarter of the usual number of rows to twice as many; ends are sought at so many places a batch
LEAST_SHARE, MOST_SHARE, PLACES = 0.25, 2.0, 16
# Rows whose lengths differ by less are taken as alike, so that each epoch brings other rows together
LIKE = 0.02


def bucketed(shuffled: np.ndarray, lengths: np.ndarray, count: int) -> list[np.ndarray]:
    """Cut rows in random order into batches, within neighbourhoods of rows in random order.

    Long rows stand in small batches and short ones in large ones, so the loss of a batch has to count by its rows.

    Args:
        shuffled: (R,) numbers of rows of `lengths`.
        lengths: (any number of rows, F) length of each field in units of its longest; 0 where it is missing.
        count: Number of batches.

    Returns:
        `count` arrays of row numbers, none empty, in the order of their neighbourhoods.
    """
    neighbourhoods = min(max(FEWEST, count // NEIGHBOURHOOD), count)
    batches: list[np.ndarray] = []
    done = 0
    for number in range(1, neighbourhoods + 1):
        until = count * number // neighbourhoods
        stop = len(shuffled) * until // count
        part = shuffled[done:stop]
        with np.errstate(divide="ignore"):
            level = np.floor(np.log(lengths[part].sum(axis=1)) / LIKE)
        part = part[np.argsort(level, kind="stable")]
        batches += np.split(part, cheapest_cuts(lengths[part], until - len(batches)))
        done = stop
    return batches


def cheapest_cuts(lengths: np.ndarray, count: int) -> np.ndarray:
    """Where to cut rows so that the padded length of all batches together is least.

    Args:
        lengths: (R, F) of rows in order.
        count: Number of parts.

    Returns:
        (count - 1,) first rows of the second part and of those after it.

    References: dynamic programming over the ends, as in Fisher 1958, On Grouping for Maximum Homogeneity.
    """
    usual = len(lengths) / count
    block = max(1, int(usual // PLACES))
    least = max(1, int(usual * LEAST_SHARE) // block)
    most = max(least + 1, int(usual * MOST_SHARE) // block)
    starts = np.arange(0, len(lengths), block)
    if count == 1 or len(starts) < count * least:
        return np.linspace(0, len(lengths), count + 1).astype(np.int64)[1:-1]
    sizes = np.diff(np.append(starts, len(lengths)))
    costs = _costs(np.maximum.reduceat(lengths, starts, axis=0), sizes, most)
    costs[: least - 1] = np.inf
    # best[j]: least cost of the first j blocks in the parts so far; chosen[k, j]: blocks of the last of them
    best = np.append(0.0, np.full(len(starts), np.inf))
    chosen = np.zeros((count, len(starts) + 1), np.int64)
    for number in range(count):
        before = sliding_window_view(np.append(np.full(most, np.inf), best), most)[:-1, ::-1]
        found = before[1:] + costs.T
        chosen[number, 1:] = found.argmin(axis=1) + 1
        best = np.append(np.inf, found.min(axis=1))
    ends, place = [], len(starts)
    for number in range(count - 1, 0, -1):
        place -= chosen[number, place]
        ends.append(starts[place])
    return np.array(ends[::-1], np.int64)


def _costs(longest: np.ndarray, sizes: np.ndarray, most: int) -> np.ndarray:
    """(most, L) padded length of the part of 1, 2 ... blocks that ends with each block; infinite where it has no start.

    Args:
        longest: (L, F) longest of each field in each block.
        sizes: (L,) rows of each block.
        most: Largest number of blocks.
    """
    costs = np.full((most, len(sizes)), np.inf)
    widest, rows = longest.copy(), sizes.astype(np.float64)
    costs[0] = widest.sum(axis=1) * rows
    for width in range(1, min(most, len(sizes))):
        widest[width:] = np.maximum(widest[width:], longest[:-width])
        rows[width:] += sizes[:-width]
        costs[width, width:] = widest[width:].sum(axis=1) * rows[width:]
    return costs
