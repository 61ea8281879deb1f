"""Writing files so that a crash leaves the old content or the new, and telling whether a file is what it was."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder last through a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it that are absent, so that what is kept in it lasts through a power cut."""
    made = [item for item in (folder, *folder.parents) if not item.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for item in reversed(made):
        sync_folder(item.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder, as far as the system lets us, so that no power cut brings it back."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir():
        sync_folder(folder.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old or the new content, never a part of it."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, of this writer alone, that takes its place if all goes well and else vanishes.

    Two writers at once do not meet: the later one's whole file stays.
    """
    temporary = path.with_name(f"{path.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left unfinished in a folder that no writer is at work in."""
    for path in folder.rglob("*.tmp"):
        with suppress(OSError):
            path.unlink()


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
