"""Affine warps and colour changes of several pictures at once, in numpy. Shapes: P pictures, H W height and width."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Pictures worked on together: so many pixels keep all buffers of a step in the processor's cache
_PIXELS_AT_ONCE = 1 << 15
# One pixel in one 32-bit word, 11 bits a colour (10 for the last). A weighted mean of pixels is then a few operations
# on whole words: weights are quarters, so a colour grows to 10 bits at most and never reaches its neighbour.
_SHIFTS = (0, 11, 22)
_COLOURS = np.uint32(0xFF | 0xFF << 11 | 0xFF << 22)
_HALF = np.uint32(2 | 2 << 11 | 2 << 22)
_TWO = np.uint32(2)
_LUMA = (0.299, 0.587, 0.114)


def parts(index: np.ndarray, pixels: np.ndarray) -> list[np.ndarray]:
    """Cut picture numbers into groups that are quick to work on together: more would not fit the cache."""
    step = max(1, _PIXELS_AT_ONCE // (pixels.shape[1] * pixels.shape[2]))
    return [index[start : start + step] for start in range(0, len(index), step)]


def affine_warp(pixels: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Sample each picture along an affine map of its own, bilinearly (to 1/4 pixel), the border repeated outside.

    Args:
        pixels: uint8 (P, H, W, 3).
        maps: float (P, 2, 3): row 0 gives the source column and row 1 the source row of a place of the result, as
            coefficients of (column, row, 1), all in pixels.

    Returns:
        uint8 (P, H, W, 3). The map ``[[1, 0, 0], [0, 1, 0]]`` gives the picture itself.
    """
    height, width = pixels.shape[1:3]
    grid = _grid(height, width)
    # Quarters of a pixel, and half a quarter more, so that cutting rounds
    quarters = (4 * maps + np.array([0, 0, 0.5])).astype(np.float32)
    words = _sampled(_packed(pixels), quarters, grid, width)
    result = np.empty_like(pixels)
    flat = result.reshape(-1, 3)
    for channel, shift in enumerate(_SHIFTS):
        # Writing a word into a byte keeps its lowest eight bits
        flat[:, channel] = (words >> np.uint32(shift)).reshape(-1)
    return result


def recolour(pixels: np.ndarray, *, brightness: np.ndarray, contrast: np.ndarray, saturation: np.ndarray) -> np.ndarray:
    """Change brightness, contrast about the picture's own mean, and saturation, in this order of meaning.

    Args:
        pixels: uint8 (P, H, W, 3).
        brightness: (P,) added, in shares of full scale.
        contrast: (P,) factor of differences from the mean grey of the picture (measured on about 16 x 16 places).
        saturation: (P,) factor of differences from grey; 0 is a grey picture.

    Returns:
        uint8 (P, H, W, 3).
    """
    luma = np.array(_LUMA, np.float32)
    step = max(1, min(pixels.shape[1:3]) // 16)
    sample = pixels[:, ::step, ::step].reshape(len(pixels), -1, 3).astype(np.float32)
    grey = np.full(sample.shape[1], 1 / sample.shape[1], np.float32) @ sample @ luma
    added = grey * (1 - contrast) + 255 * brightness + 0.5
    values = pixels.astype(np.float32)
    if (saturation != 1).any():
        weights = luma * (1 - saturation[:, None]).astype(np.float32)
        # (P, H * W, 3) times (P, 3) is the share of grey that goes into every colour of a pixel
        common = np.matmul(values.reshape(len(values), -1, 3), weights[:, :, None])
        values *= saturation.astype(np.float32)[:, None, None, None]
        # Colour by colour: spreading the share over a last axis of 3 takes twice as long
        for channel in range(3):
            values[..., channel] += common.reshape(values.shape[:3])
    values *= contrast.astype(np.float32)[:, None, None, None]
    values += added.astype(np.float32)[:, None, None, None]
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


def sharpen(pixels: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Add (P,) amounts of what a 3 x 3 mean takes away; negative amounts blur. The outermost pixels stay."""
    values = pixels.astype(np.float32)
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    means = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    inner = values[:, 1:-1, 1:-1]
    inner += (inner - means) * amount[:, None, None, None].astype(np.float32)
    return np.asarray(np.clip(values + 0.5, 0, 255), dtype=np.uint8)


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> np.ndarray:
    """(column, row, 1) of each place: float32 (3, H * W)."""
    rows, columns = np.divmod(np.arange(height * width), width)
    grid = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float32)
    grid.setflags(write=False)
    return grid


def _packed(pixels: np.ndarray) -> np.ndarray:
    """One word a pixel, and a row more at the end, which is read with weight 0 only."""
    flat = pixels.reshape(-1, 3)
    words = np.zeros(len(flat) + pixels.shape[2] + 1, np.uint32)
    filled = words[: len(flat)]
    filled[:] = flat[:, 2]
    for channel in (1, 0):
        filled <<= np.uint32(_SHIFTS[1])
        filled |= flat[:, channel]
    return words


def _sampled(words: np.ndarray, quarters: np.ndarray, grid: np.ndarray, width: int) -> np.ndarray:
    """Weighted means of the four neighbours of each place, (P, H * W) words."""
    height = grid.shape[1] // width
    column, row = quarters[:, 0] @ grid, quarters[:, 1] @ grid
    column = np.clip(column, 0, 4 * (width - 1), out=column).astype(np.int32)
    row = np.clip(row, 0, 4 * (height - 1), out=row).astype(np.int32)
    right, below = (column & 3).view(np.uint32), (row & 3).view(np.uint32)
    column >>= 2
    row >>= 2
    row *= width
    row += column
    row += (np.arange(len(quarters), dtype=np.int32) * grid.shape[1])[:, None]
    places = row.astype(np.intp)
    # Differences of words may wrap; their weighted sums are right again
    steps = words[1:] - words[:-1]
    words = (words << _TWO) + _HALF
    count = quarters.shape[0] * grid.shape[1]

    def neighbours(offset: int) -> np.ndarray:
        """Mean of two neighbours in a row."""
        mean = np.take(steps[offset : offset + count], places)
        mean *= right
        mean += np.take(words[offset : offset + count], places)
        mean >>= _TWO
        mean &= _COLOURS
        return np.asarray(mean)

    upper, lower = neighbours(0), neighbours(width)
    lower -= upper
    lower *= below
    upper <<= _TWO
    upper += _HALF
    lower += upper
    lower >>= _TWO
    return lower
