"""The parts of one field, and the field without each of them.

A part is hidden by what says least in its modality: a word is cut out, a region of a picture gets the picture's mean
colour, a stretch of a sound the mean of its spectra, a stretch of a series counts as not observed, a frame of a video
gets the mean colour of all. Arrays are changed behind the decoding, so no medium is decoded twice.

References: Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4.2 (pictures); Li,
Monroe and Jurafsky 2016, Understanding Neural Networks through Representation Erasure (words).

Shapes: n pictures of a cell, H, W pixels, F frames or steps, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from omnifuse.data.tags import EMPTY_SET
from omnifuse.data.text import clean_text
from omnifuse.explain.probe import Arrays
from omnifuse.schema import Modality

MOST_WORDS = 96
MOST_STRETCHES = 12
MOST_TAGS = 64
_PIXELS_A_TILE, _LEAST_GRID, _MOST_GRID = 8, 4, 8
# Scripts without spaces: each sign for itself
_WORD = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


@dataclass(frozen=True)
class Hidden:
    """A part, and the field's arrays without it (None: nothing is left of the field)."""

    what: str
    where: dict[str, Any]
    arrays: Arrays | None


@dataclass(frozen=True)
class Occlusions:
    """All parts of a field; `grid` and `seen` as in `FieldParts`."""

    parts: tuple[Hidden, ...]
    grid: tuple[int, int, int] | None = None
    seen: Any = None


def occlusions(modality: Modality, arrays: Arrays, preprocessor: Any, cell: Any) -> Occlusions | None:
    """The field of one row without each of its parts; None where a modality has no parts, as dates and places.

    Args:
        modality: Of the field.
        arrays: Those of the row.
        preprocessor: Of the field.
        cell: What stands in the table; looked at for texts alone.
    """
    found = _OF_MODALITY.get(modality)
    return None if found is None else found(arrays, preprocessor, cell)


def words_of(text: str, most: int = MOST_WORDS) -> list[tuple[int, int]]:
    """Spans (start, end) of the words of a text; of a long text, of stretches of as many words each.

    Example:
        >>> words_of("a red house"), words_of("a red brick house", most=2)
        ([(0, 1), (2, 5), (6, 11)], [(0, 5), (6, 17)])
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    if len(spans) <= most:
        return spans
    groups = np.array_split(np.arange(len(spans)), most)
    return [(spans[group[0]][0], spans[group[-1]][1]) for group in groups]


def _words(arrays: Arrays, preprocessor: Any, cell: Any) -> Occlusions:
    text = clean_text(cell, preprocessor.max_chars)
    parts = [
        Hidden(text[start:end], {"start": start, "end": end}, preprocessor(text[:start] + text[end:]))
        for start, end in words_of(text)
    ]
    return Occlusions(tuple(parts), seen=text)


def grid_side(height: int, width: int, count: int = 1) -> int:
    """Tiles along each side of a picture: about 8 pixels each, 4 to 8 of them; 4 where a cell holds several pictures.

    Example:
        >>> grid_side(32, 32), grid_side(96, 80), grid_side(96, 96, 3)
        (4, 8, 4)
    """
    if count > 1:
        return _LEAST_GRID
    return int(np.clip(min(height, width) // _PIXELS_A_TILE, _LEAST_GRID, _MOST_GRID))


def _tiles(arrays: Arrays, _preprocessor: Any, _cell: Any) -> Occlusions:
    pixels = arrays["pixels"]
    count, height, width = pixels.shape[:3]
    side = grid_side(height, width, count)
    rows, columns = (np.linspace(0, size, side + 1).round().astype(int) for size in (height, width))
    parts = []
    for number in range(count):
        colour = _mean_colour(pixels[number])
        for top, bottom in pairwise(rows):
            for left, right in pairwise(columns):
                changed = pixels.copy()
                changed[number, top:bottom, left:right] = colour
                box = {"top": top / height, "left": left / width, "bottom": bottom / height, "right": right / width}
                where = {"picture": number, **{name: round(float(at), 4) for name, at in box.items()}}
                name = f"picture {number + 1}, " if count > 1 else ""
                what = f"{name}{_percent(top, height)} down, {_percent(left, width)} across"
                parts.append(Hidden(what, where, {**arrays, "pixels": changed}))
    return Occlusions(tuple(parts), (count, side, side), pixels)


def _percent(place: int, size: int) -> str:
    return f"{place / size:.0%}"


def _mean_colour(pixels: np.ndarray) -> np.ndarray:
    """uint8 (3,) of (..., 3)."""
    return np.asarray(pixels.reshape(-1, 3).mean(axis=0) + 0.5).astype(np.uint8)


def _stretches(count: int) -> Iterator[tuple[int, int]]:
    """First and one behind the last of each of at most 12 stretches of frames, as even as can be."""
    ends = np.linspace(0, count, min(count, MOST_STRETCHES) + 1).round().astype(int)
    yield from pairwise(ends.tolist())


def _seconds(start: float, end: float) -> tuple[str, dict[str, float]]:
    return f"{start:.2f} to {end:.2f} s", {"start_s": round(start, 4), "end_s": round(end, 4)}


def _chunks(arrays: Arrays, preprocessor: Any) -> Occlusions:
    """Of a sound that a pretrained backbone reads, chunk by chunk."""
    ((name, chunks),) = arrays.items()
    mean = chunks.mean(axis=0)
    parts = []
    for start, end in _stretches(len(chunks)):
        changed = chunks.copy()
        changed[start:end] = mean
        what, where = _seconds(start * preprocessor.chunk_s, end * preprocessor.chunk_s)
        parts.append(Hidden(what, where, {name: changed}))
    return Occlusions(tuple(parts), seen=chunks.reshape(len(chunks), -1).std(axis=1))


def _sound(arrays: Arrays, preprocessor: Any, _cell: Any) -> Occlusions:
    if hasattr(preprocessor, "chunk_s"):
        return _chunks(arrays, preprocessor)
    spectra = arrays["log_mel"]
    mean = spectra.mean(axis=0)
    parts = []
    for start, end in _stretches(len(spectra)):
        changed = spectra.copy()
        changed[start:end] = mean
        what, where = _seconds(start * preprocessor.hop_s, end * preprocessor.hop_s)
        parts.append(Hidden(what, where, {**arrays, "log_mel": changed}))
    powers = np.exp(np.minimum(spectra[:, : preprocessor.num_mels], 30.0).astype(np.float64))
    return Occlusions(tuple(parts), seen=np.sqrt(powers.mean(axis=1)))


def _series(arrays: Arrays, _preprocessor: Any, _cell: Any) -> Occlusions:
    values, observed, times = arrays["values"], arrays["observed"], arrays["time_s"]
    parts = []
    for start, end in _stretches(len(values)):
        left, kept = values.copy(), observed.copy()
        left[start:end], kept[start:end] = 0.0, False
        what, where = _seconds(float(times[start]), float(times[end - 1]))
        changed = {**arrays, "values": left, "observed": kept} if kept.any() else None
        parts.append(Hidden(what, where, changed))
    return Occlusions(tuple(parts), seen=np.where(observed, values, np.nan))


def _frames(arrays: Arrays, _preprocessor: Any, _cell: Any) -> Occlusions:
    pixels, times = arrays["pixels"], arrays["time_s"]
    colour = _mean_colour(pixels)
    parts = []
    for start, end in _stretches(len(pixels)):
        changed = pixels.copy()
        changed[start:end] = colour
        what, where = _seconds(float(times[start]), float(times[min(end, len(times) - 1)]))
        parts.append(Hidden(what, where, {**arrays, "pixels": changed}))
    return Occlusions(tuple(parts), seen=pixels)


def _tags(arrays: Arrays, preprocessor: Any, _cell: Any) -> Occlusions:
    ids = arrays["tags"]
    names = ("(a rare or unknown tag)", "", *preprocessor.tags)
    parts = []
    for place, number in enumerate(ids[:MOST_TAGS].tolist()):
        if number != EMPTY_SET:
            left = np.delete(ids, place) if len(ids) > 1 else np.full(1, EMPTY_SET, ids.dtype)
            parts.append(Hidden(names[number], {"tag": names[number]}, {**arrays, "tags": left}))
    return Occlusions(tuple(parts))


_OF_MODALITY: dict[Modality, Callable[[Arrays, Any, Any], Occlusions]] = {
    Modality.TEXT: _words,
    Modality.IMAGE: _tiles,
    Modality.AUDIO: _sound,
    Modality.SERIES: _series,
    Modality.VIDEO: _frames,
    Modality.TAGS: _tags,
}
