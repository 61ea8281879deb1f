"""Small videos as bytes, and a world of clips whose class is the direction of what moves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

MILLI = Fraction(1, 1000)


def ramp(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frames (count, height, width, 3) of one grey each, from black to white: the brightness tells the frame."""
    levels = np.arange(count) * 255 // max(count - 1, 1)
    return np.broadcast_to(levels.astype(np.uint8)[:, None, None, None], (count, height, width, 3)).copy()


def tone(seconds: float, rate: int) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def video(
    frames: np.ndarray | None,
    *,
    kind: str = "mp4",
    codec: str = "libx264",
    rate: int = 25,
    times_ms: Sequence[int] | None = None,
    sound: str = "",
    seconds: float = 0.0,
    every: int = 0,
    options: dict[str, str] | None = None,
    file_options: dict[str, str] | None = None,
    path: Path | None = None,
) -> bytes:
    """A video file.

    Args:
        frames: (F, H, W, 3), or None for a file of sound alone.
        kind: Container.
        codec: Of the frames.
        rate: Frames a second.
        times_ms: When each frame is shown, instead of at `rate`.
        sound: Codec of a tone of 440 Hz, "" for none.
        seconds: Length of the tone; that of the frames where 0.
        every: Frames between key frames, 0 for what is usual.
        options: Of the codec.
        file_options: Of the container.
        path: Where it is written too.
    """
    buffer = io.BytesIO()
    with av.open(buffer if path is None else str(path), "w", format=kind, options=file_options or {}) as file:
        pictures = None
        if frames is not None:
            pictures = file.add_stream(codec, rate=rate, options=options or {})
            pictures.height, pictures.width, pictures.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            pictures.gop_size = every or pictures.gop_size
            if times_ms is not None:
                pictures.time_base = pictures.codec_context.time_base = MILLI
        track: Any = None
        if sound:
            track = file.add_stream(sound, rate=48_000 if "opus" in sound else 16_000)
            track.layout = "mono"
        for number, pixels in enumerate(() if frames is None else frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number if times_ms is None else times_ms[number]
            if times_ms is not None:
                frame.time_base = MILLI
            file.mux(pictures.encode(frame))
        if pictures is not None:
            file.mux(pictures.encode())
        if track is not None:
            _write_tone(file, track, seconds or (0 if frames is None else len(frames) / rate))
    return buffer.getvalue() if path is None else path.read_bytes()


def _write_tone(file: Any, track: Any, seconds: float) -> None:
    samples = tone(seconds, track.rate)
    size = track.codec_context.frame_size or 1024
    for start in range(0, len(samples), size):
        part = np.zeros(size, np.float32)
        piece = samples[start : start + size]
        part[: len(piece)] = piece
        frame = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = track.rate, start, Fraction(1, track.rate)
        file.mux(track.encode(frame))
    file.mux(track.encode())


def moving_square(direction: int, draw: np.random.Generator, *, count: int = 12, side: int = 32) -> np.ndarray:
    """A bright square that goes left (-1) or right (1) and comes back at the other end.

    Where it starts is drawn evenly, so that no single frame, nor all of them in any order, tells where it goes.
    """
    frames = np.full((count, side, side, 3), draw.integers(20, 90), np.uint8)
    size = side // 4
    start, top = int(draw.integers(side)), int(draw.integers(side - size))
    for number in range(count):
        columns = (start + direction * number * side // 16 + np.arange(size)) % side
        frames[number, top : top + size, columns] = draw.integers(200, 250)
    return frames


def clip_world(folder: Path, num_rows: int, *, seed: int = 0, sound: str = "", side: int = 32) -> list[dict[str, Any]]:
    """Rows of a `clip` on disk and its label "left" or "right"; every third clip has a sound track where asked."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(num_rows):
        label = "right" if number % 2 else "left"
        pixels = moving_square(1 if number % 2 else -1, draw, side=side)
        path = folder / f"{seed}-{number}.mp4"
        path.write_bytes(video(pixels, codec="mpeg4", rate=12, sound=sound if number % 3 == 0 else ""))
        rows.append({"clip": str(path), "goes": label})
    return rows
