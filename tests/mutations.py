"""Damaged files: random changes of good ones, and what every reader may do with them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.api.store import spec_of
from omnifuse.data.date import parse_date
from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.numbers import parse_number
from omnifuse.data.place import parse_place
from omnifuse.data.series import SeriesPreprocessor
from omnifuse.data.tables import open_table
from omnifuse.data.tags import TagsPreprocessor
from omnifuse.data.targets import class_text, tag_texts
from omnifuse.data.text import TextPreprocessor
from omnifuse.deploy import artefact
from omnifuse.deploy.description import described
from omnifuse.deploy.weights import encode_weights, read_weights
from omnifuse.errors import OmnifuseError

CORPUS = Path(__file__).parent / "faults" / "corpus"
SMALL = MediaLimits(
    max_file_bytes=2**20, max_pixels=2**20, max_audio_s=5.0, max_audio_bytes=2**22, max_series_bytes=2**22,
    max_video_s=5.0, max_frame_pixels=2**16, max_video_frames=200, max_decode_s=5.0,
)  # fmt: skip
DOOR = MediaDoor(limits=SMALL)
TEXTS = TextPreprocessor.fit(["a red house by the lake", "the red door"], max_length=16)
# What a value of JSON is replaced by
_ODD: tuple[Any, ...] = (None, True, -1, 0, 1, 3, 2**63, -(2**70), 1e308, -0.5, float("nan"), float("inf"), "", "x",
                         "os.system", "1e999", [], {}, [[]], [1, 2, 3], {"a": {}}, "\ud800", "\0")  # fmt: skip


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


def damaged_json(data: bytes, draw: np.random.Generator) -> bytes:
    """One to three values, at any depth, left out, put in twice or replaced by odd ones."""
    tree = json.loads(data)
    for _ in range(int(draw.integers(1, 4))):
        node = tree
        while isinstance(node, dict | list) and node:
            key = list(node)[int(draw.integers(len(node)))] if isinstance(node, dict) else int(draw.integers(len(node)))
            if draw.random() < 0.6 and isinstance(node[key], dict | list) and node[key]:
                node = node[key]
                continue
            match int(draw.integers(4)):
                case 0:
                    del node[key]
                case 1 if isinstance(node, list):
                    node.append(node[key])
                case _:
                    node[key] = _ODD[int(draw.integers(len(_ODD)))]
            break
    return json.dumps(tree).encode()


def read(name: str, data: bytes, folder: Path) -> bool:
    """Read a file as the reader of that name does; anything but an answer or an error of ours escapes.

    True where it was read, False where it was refused.

    Args:
        name: "table.csv" and so on.
        data: Its content.
        folder: For readers that want a path.
    """
    kind, _, suffix = name.partition(".")
    readers: dict[str, Callable[[], object]] = {
        "image": lambda: _checked_pixels(DOOR.image(data)),
        "audio": lambda: _checked_samples(DOOR.audio(data, 8000, max_s=2.0)),
        "video": lambda: _read_video(data),
        "series": lambda: _read_series(data),
        "cell": lambda: _read_cell(suffix, data.decode("utf-8", "replace")),
        "table": lambda: _read_table(folder / f"damaged.{suffix}", data),
        "model": lambda: _read_model(suffix, data, folder),
    }
    try:
        readers[kind]()
    except OmnifuseError:
        return False
    return True


def _read_video(data: bytes) -> None:
    with contextlib.suppress(OmnifuseError):
        _checked_samples(DOOR.audio(data, 8000, max_s=2.0))
    with contextlib.suppress(OmnifuseError):
        assert DOOR.video_info(data).duration_s >= 0
    pixels, times, _ = DOOR.video(data, num_frames=4)
    _checked_pixels(pixels[0])
    assert len(pixels) == len(times) <= 4
    assert np.isfinite(times).all()


def _read_series(data: bytes) -> None:
    raw = DOOR.series(data)
    assert raw.values.dtype == np.float64
    assert not np.isinf(raw.values).any()
    arrays = SeriesPreprocessor.fit([raw], max_steps=32)(raw)
    assert all(np.isfinite(array).all() for array in arrays.values())


def _read_model(part: str, data: bytes, folder: Path) -> None:
    """Weights, or a manifest: as it is, and as somebody who knows the format signs it anew."""
    weights = encode_weights({"w": np.zeros(2, np.float32)})
    (folder / artefact.WEIGHTS).write_bytes(data if part == "safetensors" else weights)
    if part == "safetensors":
        for array in read_weights(folder / artefact.WEIGHTS).values():
            array.tobytes()
        return
    (folder / artefact.CARD).write_bytes(b"card")
    (folder / artefact.MANIFEST).write_bytes(data)
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        artefact.load_artefact(folder)
        raise AssertionError("a manifest that is no JSON object was read")
    with contextlib.suppress(OmnifuseError):
        artefact.load_artefact(folder)
    files = {artefact.WEIGHTS: weights, artefact.CARD: b"card"}
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest["digest"] = artefact._digest(manifest)
    (folder / artefact.MANIFEST).write_text(json.dumps(manifest))
    manifest = artefact.load_artefact(folder).manifest
    described(manifest)
    spec_of(manifest)


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
    elif kind == "text":
        assert 0 < len(TEXTS(text)["ids"]) <= 16
        TextPreprocessor.fit([text, text], vocab_size=300)
    else:
        assert len(TagsPreprocessor.fit([text], min_count=1)(text)["tags"])
        class_text(text)
        json.dumps(tag_texts(text))


def _read_table(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    table = open_table(path)
    for column in table.columns:
        assert len(table.cells(column)) == table.num_rows
