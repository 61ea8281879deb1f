"""Cells of generated worlds: each shows one hidden bit in the manner of its modality, all else is random."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIDE = 32
RATE_HZ = 8000
_QUIET = ("the lake lies still", "a calm afternoon", "nothing moves outside", "all is quiet here")
_STORMY = ("the wind tears at the roof", "waves break over the pier", "a storm comes up", "thunder rolls nearby")
_FILLERS = ("we write from the house", "the report is short", "as every week", "signed by the keeper")
_TAGS = ("north", "south", "old", "new", "wood", "stone")
_FIRST_DAY = datetime.datetime(2024, 1, 1)

# (bit, randomness, folder, name of the row) to a cell
Render = Callable[[int, np.random.Generator, Path, str], str]


def draw_shape(bit: int, draw: np.random.Generator) -> np.ndarray:
    """uint8 (32, 32, 3): a disc (0) or a cross (1) of any colour, size and place on a shaded ground with grain."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    x, y = draw.uniform(9, SIDE - 9, 2)
    size = draw.uniform(4.5, 7.5)
    if bit:
        thick = size / 3
        down, across = np.abs(rows - y), np.abs(columns - x)
        inside = ((down < thick) & (across < size)) | ((across < thick) & (down < size))
    else:
        inside = (rows - y) ** 2 + (columns - x) ** 2 < (0.85 * size) ** 2
    ground = draw.uniform(0.1, 0.4) + draw.uniform(-0.006, 0.006) * rows
    pixels = np.repeat(ground[..., None], 3, axis=2)
    pixels[inside] = draw.uniform(0.6, 1.0, 3)
    pixels += draw.normal(0, 0.05, pixels.shape)
    return np.asarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def draw_tone(bit: int, draw: np.random.Generator) -> np.ndarray:
    """Float64 (S,), 0.4 to 0.8 s at 8 kHz: a tone that falls (0) or rises (1), anywhere in hiss."""
    count = int(draw.uniform(0.4, 0.8) * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    low, high = draw.uniform(300, 500), draw.uniform(900, 1400)
    start, stop = (low, high) if bit else (high, low)
    pitch = start + (stop - start) * time / time[-1]
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ + draw.uniform(0, 6.28))
    return np.clip(draw.uniform(0.2, 0.6) * tone + draw.normal(0, 0.03, count), -0.99, 0.99)


def _picture(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    from PIL import Image

    path = folder / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(draw_shape(bit, draw)).save(path)
    return path.relative_to(folder).as_posix()


def _views(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    """Two to four pictures; the bit is whether one of them shows a cross."""
    count = int(draw.integers(2, 5))
    marked = int(draw.integers(count)) if bit else -1
    shown = [_picture(int(number == marked), draw, folder, f"{name}-{number}") for number in range(count)]
    return "|".join(shown)


def _sound(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    import soundfile

    path = folder / "sounds" / f"{name}.wav"
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, draw_tone(bit, draw), RATE_HZ, subtype="PCM_16")
    return path.relative_to(folder).as_posix()


def _clip(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    """A square that goes left (0) or right (1): no single frame tells."""
    import av

    path = folder / "clips" / f"{name}.mp4"
    path.parent.mkdir(exist_ok=True)
    num_frames, side = 12, 8
    start, stop = (4.0, SIDE - 12.0) if bit else (SIDE - 12.0, 4.0)
    top, colour, grey = int(draw.integers(2, SIDE - 10)), draw.uniform(120, 255, 3), int(draw.integers(10, 60))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            pixels = np.full((SIDE, SIDE, 3), grey, np.uint8)
            left = round(start + (stop - start) * number / (num_frames - 1))
            pixels[top : top + side, left : left + side] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path.relative_to(folder).as_posix()


def _series(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    """A CSV file of two channels at uneven times with gaps; the first lags (0) or leads (1) the second."""
    path = folder / "series" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    times = np.cumsum(draw.uniform(0.5, 1.5, int(draw.integers(40, 70))))
    shift, speed, phase = (2.0 if bit else -2.0), draw.uniform(0.25, 0.35), draw.uniform(0, 6.28)
    leading = np.sin(speed * (times + shift) + phase) + draw.normal(0, 0.1, len(times))
    trailing = np.sin(speed * times + phase) + draw.normal(0, 0.1, len(times))
    lost = draw.random(len(times)) < 0.08
    with path.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(["time", "a", "b"])
        for time, first, second, gap in zip(times, leading, trailing, lost, strict=True):
            table.writerow([f"{time:.2f}", "" if gap else f"{first:.3f}", f"{second:.3f}"])
    return path.relative_to(folder).as_posix()


def _note(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    parts = [str(draw.choice(_STORMY if bit else _QUIET)), str(draw.choice(_FILLERS))]
    return "; ".join(parts if draw.random() < 0.5 else parts[::-1])


def _number(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    return f"{draw.normal(3.0 if bit else -3.0, 1.0):.3f}"


def _category(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    return str(draw.choice(("amber", "violet") if bit else ("green", "blue")))


def _date(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    """Any day of two years, in the morning (0) or in the evening (1)."""
    moment = _FIRST_DAY + datetime.timedelta(days=int(draw.integers(730)))
    hour = int(draw.integers(17, 23) if bit else draw.integers(5, 11))
    return moment.replace(hour=hour, minute=int(draw.integers(60))).strftime("%Y-%m-%d %H:%M:%S")


def _place(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    """Within some ten kilometres of one of two towns each."""
    towns = ((48.14, 11.58), (52.52, 13.40)) if bit else ((50.11, 8.68), (53.55, 9.99))
    latitude, longitude = towns[int(draw.integers(2))]
    return f"{latitude + draw.normal(0, 0.08):.5f}, {longitude + draw.normal(0, 0.08):.5f}"


def _tags(bit: int, draw: np.random.Generator, folder: Path, name: str) -> str:
    found = [tag for tag in _TAGS if draw.random() < 0.4] + (["listed"] if bit else ["free"])
    return "|".join(draw.permutation(found).tolist())


RENDERERS: dict[str, Render] = {
    "picture": _picture,
    "views": _views,
    "sound": _sound,
    "clip": _clip,
    "series": _series,
    "note": _note,
    "number": _number,
    "category": _category,
    "date": _date,
    "place": _place,
    "tags": _tags,
}
