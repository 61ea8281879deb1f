"""One process at a time, by a lock of the operating system that ends with whoever holds it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnifuse.errors import InputError

_PAUSE_S = 0.02


@contextmanager
def held(path: Path, *, wait_s: float, what: str, fix: str) -> Iterator[None]:
    """Hold a lock file while it lasts; the file stays, empty of meaning, when the lock is gone.

    Where the system has no such locks there is none.

    Args:
        path: In a folder that is there.
        wait_s: How long to wait for another holder, in seconds.
        what: What the other one is doing, for the message.
        fix: What to do about it.

    Raises:
        InputError: Another living process holds it; says which.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(path, flags, 0o666)
    try:
        ends = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= ends:
                    raise InputError(what, where=holder_words(os.pread(handle, 400, 0)), fix=fix) from None
                time.sleep(_PAUSE_S)
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder(), 0)
        yield
    finally:
        os.close(handle)


def holder() -> bytes:
    """This process, for whoever finds the lock."""
    return json.dumps({"process": os.getpid(), "machine": platform.node()}).encode()


def holder_words(content: bytes) -> str:
    """Who holds a lock, as it says itself; "" where it says nothing."""
    try:
        data = json.loads(content)
        return f"process {int(data['process'])} on {str(data['machine'])[:80]}"
    except (ValueError, KeyError, TypeError):
        return ""
