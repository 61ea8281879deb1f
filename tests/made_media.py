"""Pictures and sounds as bytes, every way into the media door, and memory that must not grow."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import soundfile
from PIL import Image

from omnifuse.data.media import MediaDoor


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def sound(samples: Any, rate: int = 8000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """One part of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, pixels: bytes, *, bits: int = 8) -> bytes:
    """A colour PNG whose header says what it is told, whatever its packed pixels hold."""
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def ways_in(door: MediaDoor) -> list[Callable[[Any], Any]]:
    """Every way for a cell into the door; the first takes pictures, the others sounds too."""
    return [door.image, door.content_key, door.audio_rate, lambda cell: door.audio(cell, 8000)]


def resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as handle:
        return int(handle.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@contextmanager
def little_memory() -> Iterator[None]:
    """Less than 50 MB more at the end than at the start."""
    before = resident_mb()
    yield
    assert resident_mb() - before < 50
