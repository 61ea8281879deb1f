"""A small good file for each reader and format, to be damaged."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
from PIL import Image
from tests.made_media import encoded, sound
from tests.made_video import ramp, video

from omnifuse.data.history import schema_with_history
from omnifuse.data.media import MediaDoor
from omnifuse.data.preprocessors import fit_preprocessors, preprocessors_to_json
from omnifuse.data.tables import open_table
from omnifuse.deploy.weights import encode_weights
from omnifuse.presets import PRESETS
from omnifuse.readout.target_readout import SubsetCalibration, TargetReadout
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

_ROWS = [{"id": k, "note": f"word {k}", "level": k / 3, "label": "ab"[k % 2]} for k in range(12)]


def good_files() -> dict[str, bytes]:
    """Reader and format ("table.csv") to a good file."""
    draw = np.random.default_rng(0)
    picture = Image.fromarray(draw.integers(0, 256, (12, 9, 3), dtype=np.uint8))
    wave = 0.5 * np.sin(np.arange(800) / 5)
    frame, steps = pl.DataFrame(_ROWS), {"time": [0.0, 1.5, 2.0, 10.0], "heat": [20.0, 21.5, None, 22.0]}
    series, matrix = pl.DataFrame(steps), io.BytesIO()
    np.save(matrix, draw.normal(size=(5, 2)))
    frames = ramp(6, 16, 16)
    return {
        "table.csv": frame.write_csv().encode(),
        "table.tsv": frame.write_csv(separator="\t").encode(),
        "table.jsonl": frame.write_ndjson().encode(),
        "table.parquet": _parquet(frame),
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
        "video.mp4": video(frames, sound="aac"),
        "video.mkv": video(frames, kind="matroska", sound="libopus"),
        "video.webm": video(frames, kind="webm", codec="libvpx-vp9"),
        "video.avi": video(frames, kind="avi", codec="mpeg4", sound="mp3"),
        "video.mpg": video(frames, kind="mpeg", codec="mpeg1video"),
        "series.npy": matrix.getvalue(),
        "series.json": json.dumps(steps).encode(),
        "series.csv": series.write_csv().encode(),
        "series.parquet": _parquet(series),
        "cell.text": "Ein rotes Haus, 12\u00a0% billiger \u2014 \u7ea2\u8272".encode(),
        "cell.place": b"52\xc2\xb031'12\" N, 13\xc2\xb024'18\" E",
        "cell.date": b"25 Jan 2020 5:51 PM +0100",
        "cell.number": b"-1.234,56 %",
        "cell.tags": b"red | green;blue , red",
        "model.safetensors": encode_weights({"a.w": np.ones((2, 3), np.float32), "b": np.array([1, 2], np.int64)}),
        "model.json": json.dumps(_manifest()).encode(),
    }


def _parquet(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def _manifest() -> dict[str, object]:
    """What `model.json` says of a model that reads every modality."""
    columns = {"note": "text", "photo": "image", "call": "audio", "clip": "video", "trace": "series", "when": "date",
               "spot": "place", "topics": "tags", "age": "number", "town": "category"}  # fmt: skip
    targets = (Target("kind", TaskKind.CLASSIFICATION, ("a", "b")), Target("price", TaskKind.REGRESSION))
    rows = [
        {"note": f"word {k}", "when": f"2026-01-{k + 1:02d}", "spot": "52.5, 13.4", "topics": "red|blue", "age": f"{k}",
         "town": "ab"[k % 2], "trace": "[[1, 2], [3, 4]]", "photo": None, "call": None, "clip": None}
        for k in range(12)
    ]  # fmt: skip
    table = open_table(rows)
    schema = Schema(tuple(Field(name, Modality(kind), "as given") for name, kind in columns.items()), targets, ("id",))
    schema = schema_with_history(table, schema, 8)
    fitted = fit_preprocessors(table, schema, rows=np.arange(len(rows)), options={}, door=MediaDoor())
    inputs = tuple(item.name for item in schema.inputs)
    calibration = SubsetCalibration({"fused": 0.7, "note": 0.3}, 1.3)
    readouts = {item.name: TargetReadout(item, inputs, {"note": calibration}, prior=(0.5, 0.5)) for item in targets}
    return {
        "format": 1,
        "num_members": 3,
        "schema": schema.to_json(),
        "preprocessors": preprocessors_to_json(fitted),
        "readouts": {name: readout.to_json() for name, readout in readouts.items()},
        "spec": PRESETS["tiny"].model.to_json(),
    }
