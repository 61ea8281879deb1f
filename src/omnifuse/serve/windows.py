"""The latest seconds of a stream, field by field, as one row."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.numbers import parse_number
from omnifuse.errors import MediaError
from omnifuse.schema import Modality
from omnifuse.serve.cells import from_base64, read_row
from omnifuse.serve.columns import Columns
from omnifuse.serve.limits import ServeLimits

MOST_FRAMES = 32
MOST_STEPS = 20_000
MOST_HERTZ = 192_000
_FRAME_SIDE = 512
_DOOR = MediaDoor(confined=True, limits=MediaLimits(max_pixels=16 * 2**20))


class SoundWindow:
    """Samples of 16 bits of one channel."""

    def __init__(self, rate_hz: int, window_s: float) -> None:
        self.rate_hz, self._most = rate_hz, max(1, round(rate_hz * window_s))
        self._samples = np.zeros(0, np.int16)

    def push(self, pcm: bytes) -> None:
        """Append samples, little-endian."""
        if len(pcm) % 2:
            raise MediaError("the samples have an odd number of bytes", fix="Send 16 bits a sample")
        self._samples = np.concatenate([self._samples, np.frombuffer(pcm, "<i2")])[-self._most :]

    def cell(self, at_s: float) -> Any:
        """(array (S,), rate in Hz); None before the first sample."""
        return (self._samples, self.rate_hz) if len(self._samples) else None


class FrameWindow:
    """Pictures of a video, at most 32, evenly over the window."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._frames: deque[tuple[float, np.ndarray]] = deque(maxlen=MOST_FRAMES)

    def push(self, content: bytes, at_s: float) -> None:
        """Append a picture; one that comes too soon after the last is left out."""
        if self._frames and at_s - self._frames[-1][0] < self._window_s / MOST_FRAMES:
            return
        picture = Image.fromarray(_DOOR.image(content, min_side=_FRAME_SIDE))
        picture.thumbnail((_FRAME_SIDE, _FRAME_SIDE))
        frame = np.asarray(picture)
        if self._frames and self._frames[0][1].shape != frame.shape:
            self._frames.clear()
        self._frames.append((at_s, frame))

    def cell(self, at_s: float) -> Any:
        """(array (F, H, W, 3), frames a second); None where no frame is new enough."""
        while self._frames and self._frames[0][0] < at_s - self._window_s:
            self._frames.popleft()
        if not self._frames:
            return None
        span = self._frames[-1][0] - self._frames[0][0]
        rate = (len(self._frames) - 1) / span if span > 0 else 1.0
        return np.stack([frame for _, frame in self._frames]), rate


class StepWindow:
    """Steps of a sensor series: a number, a list of numbers, or an object of them by channel."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._steps: deque[tuple[float, Any]] = deque(maxlen=MOST_STEPS)

    def push(self, step: Any, at_s: float) -> None:
        """Append a step; one of another form than those before begins anew."""
        shape = _shape(step)
        if self._steps and _shape(self._steps[-1][1]) != shape:
            self._steps.clear()
        self._steps.append((at_s, step))

    def cell(self, at_s: float) -> Any:
        """A series with its times in seconds; None where no step is new enough."""
        while self._steps and self._steps[0][0] < at_s - self._window_s:
            self._steps.popleft()
        if not self._steps:
            return None
        times, steps = [at for at, _ in self._steps], [step for _, step in self._steps]
        if isinstance(steps[0], Mapping):
            return {**{name: [step[name] for step in steps] for name in steps[0]}, "time": times}
        return {"time": times, "values": [step if isinstance(step, list) else [step] for step in steps]}


def _shape(step: Any) -> Any:
    """What steps of one window have in common."""
    if isinstance(step, Mapping):
        if not step or "time" in step:
            raise MediaError("a step without channels, or with one named time")
        return tuple(sorted(step))
    values = step if isinstance(step, list) else [step]
    if not values or any(isinstance(value, list | dict) for value in values):
        raise MediaError("a step is a number, a list of numbers, or an object of numbers")
    return len(values)


class Windows:
    """The state of one stream.

    Args:
        columns: Of the model.
        limits: Bounds of messages.
        window_s: Seconds that are looked at.
        rates_hz: Sound field to the rate of its samples.

    Sounds grow by `{"pcm16": base64}`, videos by pictures, series by steps; a picture counts for a window's length; all
    else holds until it is sent anew.
    """

    def __init__(
        self, columns: Columns, limits: ServeLimits, *, window_s: float = 2.0, rates_hz: Mapping[str, int] | None = None
    ) -> None:
        self._columns, self._limits, self._window_s = columns, limits, window_s
        rates = dict(rates_hz or {})
        self._sounds = {name: SoundWindow(rates.get(name, 16_000), window_s) for name in self._of(Modality.AUDIO)}
        self._videos = {name: FrameWindow(window_s) for name in self._of(Modality.VIDEO)}
        self._series = {name: StepWindow(window_s) for name in self._of(Modality.SERIES)}
        self._pictures = self._of(Modality.IMAGE)
        self._held: dict[str, tuple[float, Any]] = {}

    def _of(self, modality: Modality) -> tuple[str, ...]:
        return tuple(name for name, found in self._columns.fields.items() if found is modality)

    def push(self, values: Any, at_s: float) -> list[str]:
        """Take in what one message brings.

        Returns:
            A sentence for each value that could not be read.

        Raises:
            RequestError: An unknown field, or a medium that is too large.
        """
        warnings: list[str] = []
        rest: dict[str, Any] = {}
        for name, value in values.items() if isinstance(values, Mapping) else ():
            try:
                if not self._grow(name, value, at_s):
                    rest[name] = value
            except MediaError as error:
                warnings.append(f"{name}: {error}")
        cells, more = read_row(rest if isinstance(values, Mapping) else values, self._columns, self._limits,
                               where="the message")  # fmt: skip
        self._held |= {name: (at_s, cell) for name, cell in cells.items()}
        return warnings + more

    def _grow(self, name: str, value: Any, at_s: float) -> bool:
        """Whether the value belongs to a window that grows."""
        if name in self._sounds and isinstance(value, Mapping) and set(value) == {"pcm16"}:
            self._sounds[name].push(from_base64(str(value["pcm16"]), self._limits))
            self._held.pop(name, None)
            return True
        if name in self._videos and value is not None:
            content = value.get("base64") if isinstance(value, Mapping) else value
            if not isinstance(content, str):
                raise MediaError("a frame is a picture as base64")
            self._videos[name].push(from_base64(content, self._limits), at_s)
            return True
        is_step = isinstance(value, list | dict) or not math.isnan(parse_number(value))
        if name in self._series and is_step and not (isinstance(value, Mapping) and set(value) == {"base64"}):
            self._series[name].push(value, at_s)
            return True
        return False

    def row(self, at_s: float) -> dict[str, Any]:
        """Column to cell at a time; fields without anything in the window are missing."""
        row = {
            name: cell
            for name, (since, cell) in self._held.items()
            if name not in self._pictures or since >= at_s - self._window_s
        }
        grown: dict[str, SoundWindow | FrameWindow | StepWindow] = {**self._sounds, **self._videos, **self._series}
        for name, window in grown.items():
            cell = window.cell(at_s)
            if cell is not None and row.get(name) is None:
                row[name] = cell
        return row

    def plain_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of a row that are kept as history: no media and no series."""
        heavy = (*self._sounds, *self._videos, *self._series, *self._pictures)
        return {name: cell for name, cell in row.items() if name not in heavy}
