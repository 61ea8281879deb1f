"""Reading the body of a request: counted while it comes, in time, and never more at once than the memory allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError, overloaded

Receive = Callable[[], Awaitable[Any]]


class DisconnectedError(Exception):
    """The client has gone."""


class BodyReader:
    """Reads bodies, and knows how many bytes of them are held.

    Args:
        limits: `max_body_bytes`, `max_bodies_bytes`, `body_s`.
    """

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self.num_bytes = 0

    @asynccontextmanager
    async def read(self, headers: Mapping[str, str], receive: Receive) -> AsyncIterator[bytes]:
        """The whole body; its bytes count as held until the block ends.

        Raises:
            RequestError: 413 too large, 408 too slow, 400 a senseless length, 503 too much is held already.
            DisconnectedError: The client has gone.
        """
        declared = headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()):
            raise RequestError(400, "the Content-Length is not a number")
        self._check(int(declared[:20]))
        held = 0
        try:
            chunks = bytearray()
            try:
                async with asyncio.timeout(self._limits.body_s):
                    async for chunk in _chunks(receive):
                        held += len(chunk)
                        self.num_bytes += len(chunk)
                        self._check(held)
                        chunks += chunk
            except TimeoutError:
                raise RequestError(408, f"the body did not come within {self._limits.body_s:g} s") from None
            body = bytes(chunks)
            del chunks
            yield body
        finally:
            self.num_bytes -= held

    def _check(self, size: int) -> None:
        if size > self._limits.max_body_bytes:
            raise RequestError(
                413, f"the body has more than {self._limits.max_body_bytes >> 20} MB", fix="Send fewer rows at a time"
            )
        if self.num_bytes > self._limits.max_bodies_bytes:
            raise overloaded("the server is reading too many large requests")


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def unless_gone(receive: Receive, work: Awaitable[Any]) -> Any:
    """The result of work, which is cancelled where the client goes before.

    Raises:
        DisconnectedError: The client has gone.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise DisconnectedError
        return task.result()
    finally:
        for item in (task, watch):
            item.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
