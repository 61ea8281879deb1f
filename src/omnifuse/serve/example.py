"""A row that can be sent to a model as it stands, made from its schema."""

from __future__ import annotations

import base64
import io
import wave
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from omnifuse.schema import Modality, Schema
from omnifuse.serve.columns import columns_of


@cache
def tiny_picture() -> str:
    """A PNG of 16 x 16 pixels as base64."""
    ramp = np.linspace(0, 255, 16).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(np.add.outer(ramp // 2, ramp // 2)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@cache
def tiny_sound() -> str:
    """A WAV of a tone of 0.1 s as base64."""
    content = io.BytesIO()
    with wave.open(content, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        tone = np.sin(np.arange(800) * 2 * np.pi * 440 / 8000)
        sound.writeframes((tone * 8000).astype("<i2").tobytes())
    return base64.b64encode(content.getvalue()).decode()


def example_row(schema: Schema) -> dict[str, Any]:
    """A row with a value in every field but videos and series, whose form the schema does not tell.

    Example:
        >>> from omnifuse.schema import Field, Modality, Schema
        >>> example_row(Schema((Field("note", Modality.TEXT), Field("size", Modality.NUMBER)), ()))
        {'note': 'some words', 'size': 1.5}
    """
    columns = columns_of(schema)
    values: dict[Modality, Any] = {
        Modality.TEXT: "some words",
        Modality.NUMBER: 1.5,
        Modality.CATEGORY: "some category",
        Modality.DATE: "2026-01-31 12:00:00",
        Modality.PLACE: "52.52, 13.405",
        Modality.TAGS: ["some tag"],
    }
    row: dict[str, Any] = {}
    for name, modality in columns.fields.items():
        if modality is Modality.IMAGE:
            row[name] = {"base64": tiny_picture()}
        elif modality is Modality.AUDIO:
            row[name] = {"base64": tiny_sound()}
        elif name in columns.parts:
            row[name] = 52.52 if "lat" in name.lower() else 13.405
        elif modality in values:
            row[name] = values[modality]
    return row
