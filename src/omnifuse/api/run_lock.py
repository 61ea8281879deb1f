"""One fit at a time in a run folder."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omnifuse.errors import InputError
from omnifuse.files import make_folder

LOCK = ".lock"


@contextmanager
def sole_fit(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process while it lasts.

    The lock is the operating system's, on the open file: it ends with the process, however that ends, so a file that a
    dead process left behind locks nobody out. Where the system has no such locks there is none.

    Args:
        folder: Made where absent.

    Raises:
        InputError: Another living process fits into this folder; says which.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    make_folder(folder)
    path = folder / LOCK
    while True:
        with path.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another fit is at work in the folder '{folder}'",
                    where=_holder_words(path),
                    fix="Wait for its end, or give another folder with --out",
                ) from None
            if not _is_at(path, handle.fileno()):  # its holder has just removed it: look for the new one
                continue
            handle.seek(0)
            handle.truncate()
            handle.write(json.dumps({"process": os.getpid(), "machine": platform.node()}))
            handle.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that the path names."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder_words(path: Path) -> str:
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(held['process'])} on {held['machine']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
