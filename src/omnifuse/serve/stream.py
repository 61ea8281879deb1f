"""WebSocket `/stream`: live values in, one answer a step of time out.

The first message sets the window, `{"window_s": 2, "every_s": 1, "rates_hz": {"sound": 16000}, "proba": false}`, each
further one brings values, `{"t": 0.5, "values": {"sound": {"pcm16": "..."}, "camera": {"base64": "..."},
"temperature": 21.5}}`, with `t` in seconds of the sender's clock. Answers are `{"t": 1.0, "prediction": {...},
"skipped": 0}`: a window that comes while the one before is still being answered is skipped and counted. What cannot be
read gets `{"error": "..."}`, and the stream goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from omnifuse.data.windows import MOST_HERTZ
from omnifuse.serve.columns import Columns
from omnifuse.serve.json_body import parse_json
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.question import Question
from omnifuse.serve.request_error import RequestError
from omnifuse.serve.service import Service
from omnifuse.serve.versions import Key
from omnifuse.serve.windows import Windows

_SHORTEST_STEP_S = 0.02
Say = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class StreamSetting:
    """What the first message sets: window and step in seconds, rates of the sounds, whether to give probabilities."""

    window_s: float = 2.0
    every_s: float = 1.0
    rates_hz: Mapping[str, int] = field(default_factory=dict)
    proba: bool = False


def read_setting(data: Any, limits: ServeLimits) -> StreamSetting:
    """Check the first message.

    Raises:
        RequestError: 422.
    """
    if not isinstance(data, Mapping) or not set(data) <= {"window_s", "every_s", "rates_hz", "proba"}:
        raise RequestError(
            422, "the first message is no setting", fix='Send {"window_s": 2, "every_s": 1, "rates_hz": {}}, or {}'
        )
    rates = data.get("rates_hz", {})
    if not isinstance(rates, Mapping) or not all(
        isinstance(rate, int) and not isinstance(rate, bool) and 1 <= rate <= MOST_HERTZ for rate in rates.values()
    ):
        raise RequestError(422, f"'rates_hz' names for each sound a rate from 1 to {MOST_HERTZ}")
    if not isinstance(data.get("proba", False), bool):
        raise RequestError(422, "'proba' is neither true nor false")
    return StreamSetting(
        _between(data, "window_s", 2.0, 0.05, limits.max_window_s),
        _between(data, "every_s", 1.0, _SHORTEST_STEP_S, 3600.0),
        dict(rates),
        data.get("proba", False),
    )


def _between(data: Mapping[str, Any], name: str, usual: float, low: float, high: float) -> float:
    value = data.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RequestError(422, f"'{name}' is not a number from {low:g} to {high:g}")
    return float(value)


class Stream:
    """One open stream.

    Args:
        service: Answers.
        say: Sends one message.
        setting: Of the first message.
        key: For the choice of the version, the same for all windows.
    """

    def __init__(self, service: Service, say: Say, setting: StreamSetting, key: Key) -> None:
        self._service, self._say, self._setting, self._key = service, say, setting, key
        version = service.lineup.of(key)
        self._windows = Windows(version.columns, service.limits, window_s=setting.window_s, rates_hz=setting.rates_hz)
        history = version.answerer.schema.history
        self._past: deque[dict[str, Any]] | None = None if history is None else deque(maxlen=history.window)
        self._began = time.monotonic()
        self._latest: float | None = None
        self._next: float | None = None
        self._skipped = 0
        self._warnings: list[str] = []
        self._answering: asyncio.Task[None] | None = None

    async def take(self, message: str) -> None:
        """One message with values."""
        try:
            at_s = await self._service.call(self._push, message)
            if self._next is None or at_s >= self._next:
                self._next = at_s + self._setting.every_s
                self._begin(at_s)
        except RequestError as error:
            await self._say({"error": str(error)})

    def _push(self, message: str) -> float:
        """In a thread: parse the message and put its values into the windows; returns its time."""
        data = parse_json(message.encode("utf-8", "surrogatepass"), self._service.limits)
        if not isinstance(data, Mapping) or not set(data) <= {"t", "values"} or "values" not in data:
            raise RequestError(422, "the message is not values", fix='Send {"t": seconds, "values": {"field": value}}')
        at_s = data.get("t", time.monotonic() - self._began)
        if isinstance(at_s, bool) or not isinstance(at_s, int | float) or not abs(at_s) <= 1e12:
            raise RequestError(422, "'t' is not a number of seconds")
        if self._latest is not None and at_s < self._latest:
            raise RequestError(422, f"'t' goes back from {self._latest:g} to {at_s:g}")
        self._latest = float(at_s)
        self._warnings = (self._warnings + self._windows.push(data["values"], self._latest))[-20:]
        return self._latest

    def _begin(self, at_s: float) -> None:
        """Answer the window that ends now, unless the one before is still being answered."""
        if self._answering is not None and not self._answering.done():
            self._skipped += 1
            return
        row, warnings = self._windows.row(at_s), self._warnings
        history = None if self._past is None else [*self._past] or None
        self._warnings = []
        if self._past is not None:
            self._past.append(self._windows.plain_row(row))

        def read(columns: Columns, limits: ServeLimits) -> Question:
            return Question([row], [warnings], history, self._setting.proba)

        self._answering = asyncio.get_running_loop().create_task(self._answer(at_s, read))

    async def _answer(self, at_s: float, read: Callable[[Columns, ServeLimits], Question]) -> None:
        try:
            (prediction,) = await self._service.predict(read, self._key)
            answer: dict[str, Any] = {"t": at_s, "prediction": prediction}
        except RequestError as error:
            answer = {"t": at_s, "error": str(error)}
        answer["skipped"], self._skipped = self._skipped, 0
        with contextlib.suppress(Exception):  # the client has gone; the reader hears of it too
            await self._say(answer)

    async def close(self) -> None:
        """Give up what is being answered."""
        if self._answering is not None:
            self._answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._answering
