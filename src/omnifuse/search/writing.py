"""Changing an index on disk: one writer at a time, and a change that is there as a whole or not at all."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from pathlib import Path

from omnifuse.deploy.locking import held
from omnifuse.files import sync_folder
from omnifuse.search.manifest import FILE, Manifest

LOCK = ".lock"
_WAIT_S = 10.0
_OURS = (".arrow", ".vectors", ".bits", ".usearch", ".tmp")


def sole_writer(folder: Path) -> AbstractContextManager[None]:
    """Hold the index for writing; others wait up to 10 seconds.

    Raises:
        InputError: Another process holds it all that time; says which.
    """
    what = f"another process writes into the index '{folder}'"
    return held(folder / LOCK, wait_s=_WAIT_S, what=what, fix="Wait for its end, then try again")


def commit(folder: Path, manifest: Manifest) -> None:
    """Make a change last: its files are written, the document that names them takes the place of the old one."""
    sync_folder(folder)
    manifest.write(folder)


def remove_unnamed(folder: Path, manifest: Manifest) -> None:
    """Remove files of earlier changes, and of those that a killed process left."""
    wanted = manifest.file_names | {FILE, LOCK}
    for path in folder.iterdir():
        if path.name not in wanted and path.suffix in _OURS:
            with suppress(OSError):
                path.unlink()
