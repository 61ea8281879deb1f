"""A process that watches the one with the model: dead or stuck, it is replaced, and no connection is refused meanwhile.

The listening socket belongs to both. While a new worker loads the model, who connects waits in the socket's queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

from omnifuse.serve.logs import event
from omnifuse.serve.service import Service

BEAT_S = 1.0
_POLL_S = 0.2
_LONGEST_PAUSE_S = 5.0


async def beat(handle: int, service: Service) -> None:
    """In the worker: write the model's id again and again, as long as the model is not stuck.

    Where nobody reads any more, the worker ends as by SIGTERM.

    Args:
        handle: File descriptor of a pipe.
        service: Whose batches are looked at.
    """
    os.set_blocking(handle, False)
    while True:
        if service.batcher.stuck_s() <= service.limits.stuck_s:
            try:
                os.write(handle, service.version.model_id.encode() + b"\n")
            except BlockingIOError:
                pass
            except OSError:
                os.kill(os.getpid(), signal.SIGTERM)
                return
        await asyncio.sleep(BEAT_S)


@dataclass
class Supervisor:
    """Keeps one worker alive.

    Args:
        command: Starts a worker; the number of the pipe's descriptor is appended.
        handles: File descriptors that the worker inherits.
        on_ready: Hears the model's id once, at the first beat of the first worker.
        silent_s: A worker that has answered and is silent for so long is replaced.
        start_s: So long a worker may take to its first beat.
        shutdown_s: So long it may take to end.
    """

    command: Sequence[str]
    handles: Sequence[int]
    on_ready: Callable[[str], None]
    silent_s: float = 8.0
    start_s: float = 300.0
    shutdown_s: float = 24.0
    _ending: bool = field(default=False, init=False)
    _was_ready: bool = field(default=False, init=False)

    def run(self) -> int:
        """Until a signal ends it.

        Returns:
            0, or the exit code of a first worker that never answered.
        """
        pause_s = 0.0
        with self._signals():
            while True:
                began, (code, was_ready) = time.monotonic(), self._worker()
                if self._ending:
                    return 0
                if not self._was_ready:
                    return code or 1
                event("worker_lost", level=logging.ERROR, code=code)
                quick = not was_ready or time.monotonic() - began < 10
                pause_s = min(pause_s * 2 + 0.25, _LONGEST_PAUSE_S) if quick else 0.0
                self._sleep(pause_s)
                if self._ending:
                    return 0

    def _worker(self) -> tuple[int, bool]:
        """One worker from its start to its end: exit code, and whether it was ever ready."""
        read, write = os.pipe()
        try:
            process = subprocess.Popen(
                [*self.command, str(write)], pass_fds=[*self.handles, write], process_group=0, stdin=subprocess.DEVNULL
            )
        finally:
            os.close(write)
        event("worker_started", pid=process.pid)
        try:
            was_ready = self._watch(read)
            if self._ending and process.poll() is None:
                process.terminate()
            else:
                process.kill()
            try:
                process.wait(self.shutdown_s)
            except subprocess.TimeoutExpired:
                process.kill()
            return process.wait(), was_ready
        finally:
            os.close(read)

    def _watch(self, read: int) -> bool:
        """Until the worker's end of the pipe closes, it is silent for too long, or a signal comes."""
        was_ready, latest = False, time.monotonic()
        while not self._ending:
            if select.select([read], [], [], _POLL_S)[0]:
                said = os.read(read, 4096)
                if not said:
                    break
                latest = time.monotonic()
                if not self._was_ready:
                    self.on_ready(said.decode("ascii", "replace").split("\n")[0])
                was_ready = self._was_ready = True
            elif time.monotonic() - latest > (self.silent_s if was_ready else self.start_s):
                event("worker_silent", level=logging.ERROR)
                break
        return was_ready

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ending and time.monotonic() < end:
            time.sleep(min(_POLL_S, seconds))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def end(number: int, frame: FrameType | None) -> None:
            self._ending = True

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
