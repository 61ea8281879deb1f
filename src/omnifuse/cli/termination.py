"""SIGTERM, as schedulers and containers send it: what was learnt is saved, and the process ends in time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
# Containers are killed 30 s after SIGTERM where nothing else is agreed
DEADLINE_S = 25.0


class TerminatedError(BaseException):
    """SIGTERM came; not an `Exception`, so that nothing but the command line's end takes it for a fault."""


@contextmanager
def terminable(deadline_s: float = DEADLINE_S) -> Iterator[None]:
    """While it lasts, the first SIGTERM raises `TerminatedError` in the main thread; further ones change nothing.

    A process that has not ended after the deadline (a step, a decoder or a disk that takes too long) is ended as it
    stands: files are written atomically, so the last whole checkpoint stays.

    Args:
        deadline_s: Seconds from the signal to the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()
    read, write = os.pipe()
    os.set_blocking(write, False)

    def handle(number: int, frame: FrameType | None) -> None:
        if not came.is_set():
            came.set()
            raise TerminatedError

    def watch() -> None:
        # The signal's number comes through the pipe even while the main thread is deep in a library
        while (numbers := os.read(read, 1)) and numbers[0] != signal.SIGTERM:
            pass
        if numbers and not ended.wait(deadline_s):
            os._exit(TERMINATED)

    ended = threading.Event()
    handler = signal.signal(signal.SIGTERM, handle)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        # Not after a signal: what is still to be done then, such as joining threads, must end in time too
        if not came.is_set():
            ended.set()
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGTERM, handler)
            with suppress(OSError):
                os.close(write)
            watcher.join()
            os.close(read)
