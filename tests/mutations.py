"""Damaged files: random changes of good ones, and what every reader may do with them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from tests.made_media import encoded, sound

from omnifuse.data.date import parse_date
from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.numbers import parse_number
from omnifuse.data.place import parse_place
from omnifuse.data.tables import open_table
from omnifuse.data.tags import TagsPreprocessor
from omnifuse.data.targets import class_text, tag_texts
from omnifuse.errors import OmnifuseError

CORPUS = Path(__file__).parent / "faults" / "corpus"
SMALL = MediaLimits(max_file_bytes=2**20, max_pixels=2**20, max_audio_s=5.0, max_audio_bytes=2**22)
_ROWS = [{"id": k, "note": f"word {k}", "level": k / 3, "label": "ab"[k % 2]} for k in range(12)]


def good_files() -> dict[str, bytes]:
    """Reader and format ("table.csv") to a good file."""
    draw = np.random.default_rng(0)
    picture = Image.fromarray(draw.integers(0, 256, (12, 9, 3), dtype=np.uint8))
    wave = 0.5 * np.sin(np.arange(800) / 5)
    frame = pl.DataFrame(_ROWS)
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    return {
        "table.csv": frame.write_csv().encode(),
        "table.tsv": frame.write_csv(separator="\t").encode(),
        "table.jsonl": frame.write_ndjson().encode(),
        "table.parquet": parquet.getvalue(),
        "image.png": encoded(picture),
        "image.jpg": encoded(picture, "JPEG"),
        "image.gif": encoded(picture, "GIF"),
        "image.webp": encoded(picture, "WEBP"),
        "image.bmp": encoded(picture, "BMP"),
        "image.tif": encoded(picture, "TIFF"),
        "audio.wav": sound(wave),
        "audio.flac": sound(wave, kind="FLAC"),
        "audio.ogg": sound(wave, kind="OGG"),
        "audio.mp3": sound(wave, kind="MP3"),
        "cell.place": b"52\xc2\xb031'12\" N, 13\xc2\xb024'18\" E",
        "cell.date": b"25 Jan 2020 5:51 PM +0100",
        "cell.number": b"-1.234,56 %",
        "cell.tags": b"red | green;blue , red",
    }


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """One to eight random changes: bits, bytes, runs cut out, doubled, moved, or put to extreme values."""
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 9))):
        if not changed:
            changed += draw.integers(0, 256, 8, dtype=np.uint8).tobytes()
        place = int(draw.integers(len(changed)))
        length = int(min(draw.geometric(0.1), len(changed) - place))
        match int(draw.integers(7)):
            case 0:
                changed[place] ^= 1 << int(draw.integers(8))
            case 1:
                changed[place] = int(draw.choice([0, 1, 0x7F, 0x80, 0xFF]))
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4:
                changed[place:place] = draw.integers(0, 256, length, dtype=np.uint8).tobytes()
            case 5:
                changed[place : place + length] = bytes([int(draw.choice([0, 0xFF]))]) * length
            case _:
                del changed[place:]
    return bytes(changed)


def read(name: str, data: bytes, folder: Path) -> None:
    """Read a file as the reader of that name does; anything but an answer or an error of ours escapes.

    Args:
        name: "table.csv" and so on.
        data: Its content.
        folder: For readers that want a path.
    """
    kind, _, suffix = name.partition(".")
    readers: dict[str, Callable[[], object]] = {
        "image": lambda: _checked_pixels(MediaDoor(limits=SMALL).image(data)),
        "audio": lambda: _checked_samples(MediaDoor(limits=SMALL).audio(data, 8000, max_s=2.0)),
        "cell": lambda: _read_cell(suffix, data.decode("utf-8", "replace")),
        "table": lambda: _read_table(folder / f"damaged.{suffix}", data),
    }
    with contextlib.suppress(OmnifuseError):
        readers[kind]()


def _checked_pixels(pixels: np.ndarray) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.size


def _checked_samples(samples: np.ndarray) -> None:
    assert samples.ndim == 1
    assert samples.size
    assert np.isfinite(samples).all()


def _read_cell(kind: str, text: str) -> None:
    if kind == "place":
        latitude, longitude = parse_place(text)
        assert abs(latitude) <= 90
        assert -180 <= longitude < 180
    elif kind == "date":
        assert isinstance(parse_date(text), int)
    elif kind == "number":
        assert isinstance(parse_number(text), float)
    else:
        assert len(TagsPreprocessor.fit([text], min_count=1)(text)["tags"])
        class_text(text)
        json.dumps(tag_texts(text))


def _read_table(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    table = open_table(path)
    for column in table.columns:
        assert len(table.cells(column)) == table.num_rows
