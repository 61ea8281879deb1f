"""Requests to a server over HTTP and what became of them: one after another, or at times that do not wait for answers.

Answers are counted from the moment at which a request was due, so that a server that falls behind cannot hide it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

NO_ANSWER = 0
ANSWER_S = 120.0


@dataclass(frozen=True)
class Request:
    """One request: what is sent, how many rows it asks, and the statuses that are right for it."""

    content: bytes
    num_rows: int = 1
    right: tuple[int, ...] = (200,)


@dataclass(frozen=True)
class Result:
    """What became of a request: when it was due (s from the start), how long it took (s), status (0 for none)."""

    due_s: float
    seconds: float
    status: int
    num_rows: int
    right: bool
    retry_after: bool = False


def post(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """A request of HTTP/1.1 over a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Client:
    """Connections to one port, kept open between requests."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: Request, due_s: float, began: float) -> Result:
        """One request and its whole answer."""
        status, retry = NO_ANSWER, False
        try:
            async with asyncio.timeout(ANSWER_S):
                status, retry = await self._exchange(request.content)
        except (OSError, EOFError, ValueError, IndexError, asyncio.IncompleteReadError):
            pass
        seconds = time.perf_counter() - began - due_s
        return Result(due_s, seconds, status, request.num_rows, status in request.right, retry)

    async def _exchange(self, content: bytes) -> tuple[int, bool]:
        # An idle connection may have been closed by the server meanwhile: then once more over a new one
        for fresh in (False, True) if self._idle else (True,):
            reader, writer = (
                await asyncio.open_connection("127.0.0.1", self.port, limit=2**20) if fresh else self._idle.pop()
            )
            try:
                writer.write(content)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
            except (OSError, asyncio.IncompleteReadError):
                writer.close()
                if fresh:
                    raise
                continue
            lines = head.decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            await reader.readexactly(int(fields["content-length"]))
            if fields.get("connection") == "close":
                writer.close()
            else:
                self._idle.append((reader, writer))
            return int(lines[0].split()[1]), "retry-after" in fields
        raise ConnectionError

    def close(self) -> None:
        """End all connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


def closed_loop(port: int, requests: Sequence[Request], *, count: int, at_once: int) -> list[Result]:
    """So many requests, a new one whenever an answer comes: what a server can take.

    Args:
        port: Of the server on this machine.
        requests: Taken in turn.
        count: Number of requests.
        at_once: How many are under way.
    """

    async def run() -> list[Result]:
        client, began, found = Client(port), time.perf_counter(), list[Result]()
        numbers = iter(range(count))

        async def ask() -> None:
            for number in numbers:
                request = requests[number % len(requests)]
                found.append(await client.send(request, time.perf_counter() - began, began))

        await asyncio.gather(*(ask() for _ in range(at_once)))
        client.close()
        return found

    return asyncio.run(run())


def open_loop(
    port: int, requests: Sequence[Request], *, rate: float, seconds: float, seed: int = 0,
    while_running: Callable[[], None] | None = None,
) -> list[Result]:  # fmt: skip
    """Requests at the times of a Poisson process, whether answers come or not.

    Args:
        port: Of the server on this machine.
        requests: Taken in turn.
        rate: Requests a second on average.
        seconds: How long requests are sent; answers are waited for.
        seed: Of the times.
        while_running: Called once a second.
    """
    draw = np.random.default_rng(seed)
    times = np.cumsum(draw.exponential(1 / rate, size=int(rate * seconds * 1.5) + 20))
    times = times[times < seconds]

    async def run() -> list[Result]:
        client, began, found = Client(port), time.perf_counter(), list[Result]()

        async def ask(number: int, due_s: float) -> None:
            found.append(await client.send(requests[number % len(requests)], due_s, began))

        async def look() -> None:
            while True:
                await asyncio.sleep(1.0)
                if while_running is not None:
                    while_running()

        looking = asyncio.ensure_future(look())
        tasks = []
        for number, due_s in enumerate(times.tolist()):
            await asyncio.sleep(max(due_s - (time.perf_counter() - began), 0.0))
            tasks.append(asyncio.ensure_future(ask(number, due_s)))
        await asyncio.gather(*tasks)
        looking.cancel()
        client.close()
        return found

    return asyncio.run(run())


def summary(results: Sequence[Result]) -> dict[str, float]:
    """Rows/s of what was answered, milliseconds of its 50th, 95th and 99th percentile, shares of 503 and of faults."""
    answered = [item for item in results if item.status == 200]
    lasted = max((item.due_s + item.seconds for item in results), default=0.0)
    times = np.array([item.seconds for item in answered]) * 1e3
    quantiles = {f"p{share}_ms": float(np.percentile(times, share)) if len(times) else float("nan")
                 for share in (50, 95, 99)}  # fmt: skip
    count = max(len(results), 1)
    return {
        "requests": len(results),
        "rows_per_s": sum(item.num_rows for item in answered) / lasted if lasted else 0.0,
        **quantiles,
        "share_503": sum(item.status == 503 for item in results) / count,
        "share_unanswered": sum(item.status == NO_ANSWER for item in results) / count,
        "share_wrong": sum(not item.right and item.status not in (503, NO_ANSWER) for item in results) / count,
    }
