"""The latest seconds of a sound, of a camera and of a sensor, each as one cell of a table."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.errors import MediaError

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

    def push(self, samples: bytes | np.ndarray) -> None:
        """Append samples: little-endian bytes, or an array of 16-bit integers or of floats from -1 to 1."""
        if isinstance(samples, bytes):
            if len(samples) % 2:
                raise MediaError("the samples have an odd number of bytes", fix="Send 16 bits a sample")
            array: np.ndarray = np.frombuffer(samples, "<i2")
        else:
            array = samples
        if array.ndim != 1 or array.dtype.kind not in "if":
            raise MediaError(f"samples of shape {array.shape} and type {array.dtype}", fix="Give one channel")
        if array.dtype.kind == "f":
            array = np.clip(np.nan_to_num(array), -1, 1) * (2**15 - 1)
        self._samples = np.concatenate([self._samples, array.astype(np.int16)])[-self._most :]

    @property
    def oldest_s(self) -> float | None:
        """Time of the oldest part that is kept, None where parts have none."""
        return None

    def clear(self) -> None:
        """Forget all."""
        self._samples = self._samples[:0]

    def cell(self, at_s: float) -> Any:
        """(array (S,), rate in Hz); None before the first sample."""
        return (self._samples, self.rate_hz) if len(self._samples) else None


class FrameWindow:
    """Pictures of a video, at most 32, evenly over the window."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._frames: deque[tuple[float, np.ndarray]] = deque(maxlen=MOST_FRAMES)

    def push(self, content: Any, at_s: float) -> None:
        """Append a picture (bytes of a file, array or Pillow); one that comes too soon after the last is left out."""
        if self._frames and at_s - self._frames[-1][0] < self._window_s / MOST_FRAMES:
            return
        picture = Image.fromarray(_DOOR.image(content, min_side=_FRAME_SIDE))
        picture.thumbnail((_FRAME_SIDE, _FRAME_SIDE))
        frame = np.asarray(picture)
        if self._frames and self._frames[0][1].shape != frame.shape:
            self._frames.clear()
        self._frames.append((at_s, frame))

    @property
    def oldest_s(self) -> float | None:
        """Time of the oldest frame that is kept."""
        return self._frames[0][0] if self._frames else None

    def clear(self) -> None:
        """Forget all."""
        self._frames.clear()

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

    @property
    def oldest_s(self) -> float | None:
        """Time of the oldest step that is kept."""
        return self._steps[0][0] if self._steps else None

    def clear(self) -> None:
        """Forget all."""
        self._steps.clear()

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
