"""Plain features of packed inputs for the simple models: nothing here is fitted on rows.

Shapes: R rows, H x W pixels, F frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from omnifuse.data.pack import Pack

GREY_SIDE, COLOUR_LEVELS, NUM_CEPSTRA = 16, 4, 20
MOST_TAG_COLUMNS = 512
CHUNK_ROWS = 256
_DAY_S = 86_400


def _spread(features: np.ndarray, pack: Pack) -> np.ndarray:
    """(R, N) float32 from (P, N): rows that lack the input are NaN."""
    result = np.full((len(pack.present), features.shape[1]), np.nan, np.float32)
    result[pack.present] = features
    return result


def _area_means(values: np.ndarray, axis: int) -> np.ndarray:
    """Means over at most 16 equal parts of an axis."""
    size = values.shape[axis]
    edges = np.unique(np.arange(GREY_SIDE) * size // GREY_SIDE)
    counts = np.diff(np.append(edges, size))
    shape = [1] * values.ndim
    shape[axis] = len(counts)
    return np.asarray(np.add.reduceat(values, edges, axis=axis) / counts.reshape(shape))


def _pixels(chunk: np.ndarray) -> np.ndarray:
    """(P, N): grey areas in 0 to 1, and the share of pixels of each of 64 colours."""
    grey = chunk.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255.0)
    areas = _area_means(_area_means(grey, 1), 2)
    small = areas.reshape(len(chunk), areas.shape[1] * areas.shape[2])
    levels = chunk // (256 // COLOUR_LEVELS)
    colour = (levels[..., 0].astype(np.int64) * COLOUR_LEVELS + levels[..., 1]) * COLOUR_LEVELS + levels[..., 2]
    num_colours = COLOUR_LEVELS**3
    index = colour.reshape(len(chunk), colour.shape[1] * colour.shape[2]) + num_colours * np.arange(len(chunk))[:, None]
    counts = np.bincount(index.ravel(), minlength=num_colours * len(chunk)).reshape(len(chunk), num_colours)
    return np.concatenate([small, counts / index.shape[1]], axis=1)


def picture_features(pack: Pack) -> np.ndarray:
    """Pictures scaled down to 16 x 16 grey, and a histogram of 4 x 4 x 4 colours; the mean over a row's pictures.

    Args:
        pack: Of a picture input: ``pixels`` uint8 (P, H, W, 3).

    Returns:
        (R, N) float32, NaN where the row has no picture.
    """
    pixels = pack.arrays["pixels"]
    starts = range(0, max(len(pixels), 1), CHUNK_ROWS)
    found = np.concatenate([_pixels(pixels[start : start + CHUNK_ROWS]) for start in starts])
    firsts = pack.offsets[:-1][pack.present]
    if len(firsts):
        found = np.add.reduceat(found, firsts, axis=0) / pack.lengths[pack.present][:, None]
    return _spread(found, pack)


def video_features(pack: Pack) -> np.ndarray:
    """Mean over time of the frames' picture features, and how much their second half differs from the first.

    Args:
        pack: Of a video input: ``pixels`` uint8 (F, H, W, 3).

    Returns:
        (R, N) float32, NaN where the row has no video.
    """
    pixels = pack.arrays["pixels"]
    starts = range(0, max(len(pixels), 1), CHUNK_ROWS)
    frames = np.concatenate([_pixels(pixels[start : start + CHUNK_ROWS]) for start in starts])
    parts = []
    for row in np.flatnonzero(pack.present):
        own = frames[pack.offsets[row] : pack.offsets[row + 1]]
        half = (len(own) + 1) // 2
        parts.append(np.concatenate([own.mean(axis=0), own[-half:].mean(axis=0) - own[:half].mean(axis=0)]))
    return _spread(np.stack(parts) if parts else np.zeros((0, 2 * frames.shape[1])), pack)


def cosine_basis(num_inputs: int, num_outputs: int) -> np.ndarray:
    """(num_inputs, num_outputs) orthonormal DCT-II."""
    angle = np.pi / num_inputs * (np.arange(num_inputs)[:, None] + 0.5) * np.arange(num_outputs)
    basis = np.cos(angle) * np.sqrt(2.0 / num_inputs)
    basis[:, 0] /= np.sqrt(2.0)
    return np.asarray(basis, np.float32)


def sound_features(pack: Pack, num_mels: int) -> np.ndarray:
    """Mean and standard deviation over time of 20 MFCCs, of their differences from frame to frame, and of prosody.

    Args:
        pack: Of a sound input: ``log_mel`` float32 (F, columns), mel bands first.
        num_mels: How many columns are mel bands; the others are prosody.

    Returns:
        (R, N) float32, NaN where the row has no sound.
    """
    frames = pack.arrays["log_mel"]
    cepstra = frames[:, :num_mels] @ cosine_basis(num_mels, min(NUM_CEPSTRA, num_mels))
    tracks = np.concatenate([cepstra, frames[:, num_mels:]], axis=1)
    starts = pack.offsets[:-1][pack.present]
    if not len(starts):
        return np.full((len(pack.present), 4 * tracks.shape[1]), np.nan, np.float32)
    change = np.diff(tracks, axis=0, prepend=tracks[:1])
    # The first frame of a sound has no predecessor in it
    change[starts] = 0.0
    both = np.concatenate([tracks, change], axis=1).astype(np.float64)
    counts = pack.lengths[pack.present][:, None]
    means = np.add.reduceat(both, starts, axis=0) / counts
    squares = np.add.reduceat((both - np.repeat(means, counts[:, 0], axis=0)) ** 2, starts, axis=0) / counts
    return _spread(np.concatenate([means, np.sqrt(squares)], axis=1), pack)


def chunk_features(pack: Pack) -> np.ndarray:
    """Mean and deviation over time of each chunk's mean and deviation: of sounds that a pretrained backbone reads.

    Args:
        pack: Of one array (C, ...) of chunks.

    Returns:
        (R, 4) float32, NaN where the row has no sound.
    """
    ((_, chunks),) = pack.arrays.items()
    flat = chunks.reshape(len(chunks), -1).astype(np.float64)
    levels = np.stack([flat.mean(axis=1), flat.std(axis=1)], axis=1)
    starts = pack.offsets[:-1][pack.present]
    if not len(starts):
        return np.full((len(pack.present), 4), np.nan, np.float32)
    counts = pack.lengths[pack.present][:, None]
    means = np.add.reduceat(levels, starts, axis=0) / counts
    squares = np.add.reduceat((levels - np.repeat(means, counts[:, 0], axis=0)) ** 2, starts, axis=0) / counts
    return _spread(np.concatenate([means, np.sqrt(squares)], axis=1), pack)


def table_features(pack: Pack) -> tuple[np.ndarray, np.ndarray]:
    """Number and category columns.

    Args:
        pack: Of a table input: ``numbers`` (P, N), ``categories`` (P, K), ``missing`` (P, N + K).

    Returns:
        (R, N) float32 numbers, NaN where missing, and (R, K) int64 categories, 1 where missing.
    """
    numbers = pack.arrays["numbers"].astype(np.float32)
    numbers[pack.arrays["missing"][:, : numbers.shape[1]]] = np.nan
    categories = np.ones((len(pack.present), pack.arrays["categories"].shape[1]), np.int64)
    categories[pack.present] = pack.arrays["categories"]
    return _spread(numbers, pack), categories


def place_features(pack: Pack) -> np.ndarray:
    """Latitude, longitude and the point on the sphere of a place input as (R, 5) float32, NaN where missing."""
    degrees = pack.arrays["degrees"]
    latitude, longitude = np.radians(degrees).T
    point = [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
    return _spread(np.concatenate([degrees, np.stack(point, axis=1)], axis=1), pack)


def tag_features(pack: Pack, num_ids: int) -> np.ndarray:
    """Which of the first 512 ids a tags input holds as (R, min(num_ids, 512)) float32 of 0 and 1, NaN where missing."""
    width = min(num_ids, MOST_TAG_COLUMNS)
    found = np.zeros((int(pack.present.sum()), width), np.float32)
    rows = np.repeat(np.arange(len(found)), pack.lengths[pack.present])
    ids = pack.arrays["tags"]
    found[rows[ids < width], ids[ids < width]] = 1.0
    return _spread(found, pack)


def date_features(pack: Pack) -> np.ndarray:
    """Years since 1970, season, weekday and hour of a date input as (R, 8) float32, NaN where missing."""
    seconds = pack.arrays["seconds"].astype(np.float64)
    days = np.floor(seconds / _DAY_S)
    turns = np.stack([seconds / (365.2425 * _DAY_S), days / 7.0, seconds / _DAY_S], axis=1) * 2 * np.pi
    weekday = np.mod(days + 3, 7)
    columns = [seconds[:, None] / (365.2425 * _DAY_S), weekday[:, None], np.sin(turns), np.cos(turns)]
    return _spread(np.concatenate(columns, axis=1), pack)


def series_features(pack: Pack) -> np.ndarray:
    """Mean, deviation, smallest, largest and last value of each channel, and the share observed.

    Args:
        pack: Of a series input: ``values`` (F, C) and ``observed`` (F, C).

    Returns:
        (R, 6 C) float32, NaN where the row has no series or nothing was observed in the channel.
    """
    values, observed = pack.arrays["values"].astype(np.float64), pack.arrays["observed"]
    starts = pack.offsets[:-1][pack.present]
    if not len(starts):
        return np.full((len(pack.present), 6 * values.shape[1]), np.nan, np.float32)
    lengths = pack.lengths[pack.present]
    known = np.where(observed, values, 0.0)
    count = np.add.reduceat(observed.astype(np.float64), starts, axis=0)
    divisor = np.where(count > 0, count, np.nan)
    mean = np.add.reduceat(known, starts, axis=0) / divisor
    apart = np.where(observed, values - np.repeat(np.nan_to_num(mean), lengths, axis=0), 0.0)
    spread = np.sqrt(np.add.reduceat(apart**2, starts, axis=0) / divisor)
    low = np.minimum.reduceat(np.where(observed, values, np.inf), starts, axis=0)
    high = np.maximum.reduceat(np.where(observed, values, -np.inf), starts, axis=0)
    place = np.where(observed, np.arange(len(values))[:, None], 0)
    latest = np.maximum.reduceat(place, starts, axis=0)
    last = np.take_along_axis(values, latest, axis=0)
    parts = [np.where(count > 0, part, np.nan) for part in (mean, spread, low, high, last)]
    return _spread(np.concatenate([*parts, count / lengths[:, None]], axis=1), pack)
