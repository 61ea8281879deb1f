"""The latest seconds of a stream, field by field, as one row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from omnifuse.data.numbers import parse_number
from omnifuse.data.windows import FrameWindow, SoundWindow, StepWindow
from omnifuse.errors import MediaError
from omnifuse.schema import Modality
from omnifuse.serve.cells import from_base64, read_row
from omnifuse.serve.columns import Columns
from omnifuse.serve.limits import ServeLimits


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
