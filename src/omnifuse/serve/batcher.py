"""Dynamic batching: rows of several requests are answered together, and a bad one fails alone.

One thread runs the model. While it works, rows gather; when it is free it takes up to `max_batch` of them, in turn from
each request, so that a large request does not hold up a small one. Only where further requests are being decoded does a
row wait for them, `max_wait_s` at most: a request alone is answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import overloaded

Work = Callable[[Sequence[Any]], Sequence[Any]]
# Weight of the latest batch in the estimate of the time a row takes
_NEW = 0.2


@dataclass(frozen=True)
class Failure:
    """In the place of a row's answer: what went wrong with it."""

    error: Exception


@dataclass(frozen=True)
class BatchReport:
    """What is measured of one batch: its rows, how many failed, its seconds, and the rows that still wait."""

    num_rows: int
    num_failed: int
    seconds: float
    num_waiting: int


@dataclass(eq=False)
class _Group:
    """The rows of one request."""

    work: Work
    items: Sequence[Any]
    arrived: float
    done: asyncio.Future[list[Any]]
    rest: deque[int]
    results: list[Any] = field(default_factory=list)
    num_left: int = 0


def isolated(work: Work, items: Sequence[Any]) -> list[Any]:
    """Results of a batch; where it fails, of its halves, down to the rows that fail alone.

    Returns:
        A result or a `Failure` for each item.

    Example:
        >>> def halve(numbers): return [100 // number for number in numbers]
        >>> [type(found).__name__ for found in isolated(halve, [5, 0, 4])]
        ['int', 'Failure', 'int']
    """
    try:
        results = list(work(items))
        if len(results) != len(items):
            raise ValueError(f"{len(results)} answers for {len(items)} rows")
    except Exception as error:
        if len(items) == 1:
            return [Failure(error)]
        middle = len(items) // 2
        return isolated(work, items[:middle]) + isolated(work, items[middle:])
    return results


class Batcher:
    """Gathers rows and runs work on them, one batch at a time.

    Args:
        limits: `max_batch`, `max_wait_s`, `max_queue`, `max_delay_s`.
        report: Hears of each batch.
    """

    def __init__(self, limits: ServeLimits, report: Callable[[BatchReport], None] = lambda _: None) -> None:
        self._limits, self._report = limits, report
        self._groups: deque[_Group] = deque()
        self._num_waiting = self._num_coming = 0
        self._seconds_a_row = 0.0
        self._running_since: float | None = None
        self._running: list[tuple[_Group, int]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="omnifuse-forward")
        self._loop: asyncio.Task[None] | None = None

    @property
    def num_waiting(self) -> int:
        """Rows that wait for the model."""
        return self._num_waiting

    @property
    def expected_wait_s(self) -> float:
        """How long a row that came now would wait, by the time that rows took until now."""
        return self._num_waiting * self._seconds_a_row

    def stuck_s(self) -> float:
        """Since when the running batch runs; 0 where none does."""
        return 0.0 if self._running_since is None else time.monotonic() - self._running_since

    def start(self) -> None:
        """Begin; called in the event loop."""
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End; rows that still wait are given up."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        for group in (*self._groups, *(group for group, _ in self._running)):
            group.done.cancel()
        self._groups.clear()
        self._num_waiting = 0
        self._thread.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """While it lasts, rows are being decoded that may share a batch with those that wait."""
        self._num_coming += 1
        try:
            yield
        finally:
            self._num_coming -= 1
            self._arrived.set()

    def check_room(self, num_rows: int = 1) -> None:
        """Turn a request away that would wait too long.

        Raises:
            RequestError: 503 with Retry-After.
        """
        full = self._num_waiting and self._num_waiting + num_rows > self._limits.max_queue
        if full or self.expected_wait_s > self._limits.max_delay_s:
            raise overloaded("the server has more rows to answer than it can take", self.expected_wait_s)

    async def submit(self, work: Work, items: Sequence[Any]) -> list[Any]:
        """Have items worked on, among those of others.

        Args:
            work: Gives one result an item, in order; only items of equal work share a batch.
            items: At least one.

        Returns:
            A result or a `Failure` for each item. Where the caller is cancelled, so are the items that still wait.

        Raises:
            RequestError: 503, the queue is full.
        """
        self.check_room(len(items))
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        group = _Group(work, items, time.monotonic(), future, deque(range(len(items))))
        group.results, group.num_left = [None] * len(items), len(items)
        self._groups.append(group)
        self._num_waiting += len(items)
        self._arrived.set()
        try:
            return await future
        finally:
            if group.rest:  # cancelled
                self._num_waiting -= len(group.rest)
                group.rest.clear()
                with contextlib.suppress(ValueError):
                    self._groups.remove(group)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._gather()
            batch = self._take()
            if not batch:
                continue
            work = batch[0][0].work
            items = [group.items[place] for group, place in batch]
            self._running, self._running_since = batch, time.monotonic()
            start = self._running_since
            try:
                results = await loop.run_in_executor(self._thread, isolated, work, items)
            finally:
                self._running_since = None
            seconds = time.monotonic() - start
            latest = seconds / len(batch)
            self._seconds_a_row += (latest - self._seconds_a_row) * (_NEW if self._seconds_a_row else 1.0)
            self._hand_out(batch, results)
            self._running = []
            failed = sum(isinstance(found, Failure) for found in results)
            self._report(BatchReport(len(batch), failed, seconds, self._num_waiting))

    async def _gather(self) -> None:
        """Until there is a batch: a full one, or the oldest row has waited, or nothing else is coming."""
        while not self._groups:
            self._arrived.clear()
            await self._arrived.wait()
        deadline = self._groups[0].arrived + self._limits.max_wait_s
        while self._num_coming and 0 < self._num_waiting < self._limits.max_batch:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def _take(self) -> list[tuple[_Group, int]]:
        """Up to `max_batch` rows of one kind of work, in turn from each request."""
        if not self._groups:
            return []
        turn = deque(group for group in self._groups if group.work == self._groups[0].work)
        batch: list[tuple[_Group, int]] = []
        while turn and len(batch) < self._limits.max_batch:
            group = turn.popleft()
            batch.append((group, group.rest.popleft()))
            if group.rest:
                turn.append(group)
        self._groups = deque(group for group in self._groups if group.rest)
        self._num_waiting -= len(batch)
        return batch

    @staticmethod
    def _hand_out(batch: list[tuple[_Group, int]], results: list[Any]) -> None:
        for (group, place), found in zip(batch, results, strict=True):
            group.results[place] = found
            group.num_left -= 1
            if not group.num_left and not group.done.done():
                group.done.set_result(group.results)
