"""A registry in a folder on disk."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from omnifuse.deploy.locations import BLOCK_BYTES, AbsentError, Fetched, TooLargeError
from omnifuse.deploy.locking import held
from omnifuse.deploy.version_manifest import plain_files
from omnifuse.errors import ArtefactError, InputError
from omnifuse.files import make_folder, remove_folder, replacing, sync_folder

LOCK = ".lock"
# Begin of the name of a folder in the making
UNFINISHED = ".unfinished-"
# O_NONBLOCK: a pipe in the place of a file is opened at once and then refused
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class LocalFolder:
    """A folder on disk; no link below it is followed."""

    local = True

    def __init__(self, path: Path, *, lock_wait_s: float = 30.0) -> None:
        self.path = path
        self.name = str(path)
        self._lock_wait_s = lock_wait_s

    def read(self, name: str, *, most: int, tag: str = "") -> Fetched | None:
        """As `Folder.read`; the tag is made of the file's number, size and time of change."""
        handle = self._opened(name)
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            if state.st_size > most:
                raise TooLargeError(name, most)
            found = f"{state.st_ino}-{state.st_size}-{state.st_mtime_ns}-{state.st_ctime_ns}"
            if found == tag:
                return None
            content = file.read(most + 1)
        if len(content) > most:
            raise TooLargeError(name, most)
        return Fetched(content, found)

    def blocks(self, name: str, *, most: int) -> Iterator[bytes]:
        """As `Folder.blocks`."""
        left = most
        with os.fdopen(self._opened(name), "rb") as file:
            while block := file.read(BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise TooLargeError(name, most)
                yield block

    def names(self, under: str) -> list[str]:
        """As `Folder.names`."""
        folder = self._place(under)
        return list(plain_files(folder, under)) if folder.is_dir() else []

    def alone(self) -> AbstractContextManager[None]:
        """As `WritableFolder.alone`; waits for another writer for a while."""
        make_folder(self.path)
        what = f"another process is changing the registry '{self.name}'"
        return held(self.path / LOCK, wait_s=self._lock_wait_s, what=what, fix="Try again when it has ended")

    def write(self, name: str, content: bytes) -> None:
        """As `WritableFolder.write`."""
        path = self._place(name)
        make_folder(path.parent)
        with replacing(path) as temporary:
            temporary.write_bytes(content)

    def put(self, under: str, files: Mapping[str, Path | bytes]) -> None:
        """As `WritableFolder.put`: the whole folder takes its name at once, when all of it is on disk."""
        target = self._place(under)
        make_folder(target.parent)
        for leftover in target.parent.glob(f"{UNFINISHED}*"):
            remove_folder(leftover)
        temporary = target.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
        try:
            write_folder(temporary, ((name, _source(content)) for name, content in files.items()))
            if os.path.lexists(target):
                remove_folder(target)
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            if temporary.exists():
                remove_folder(temporary)

    def remove(self, name: str) -> None:
        """As `WritableFolder.remove`."""
        with suppress(FileNotFoundError):
            self._place(name).unlink()

    def _place(self, name: str) -> Path:
        """The path of a name, with no link on the way and none at its end."""
        path = self.path
        for part in name.split("/"):
            path /= part
            if path.is_symlink():
                raise ArtefactError(
                    f"'{name}' of the registry is or lies behind a symbolic link", fix="Put a file there"
                )
        return path

    def _opened(self, name: str) -> int:
        path = self._place(name)
        try:
            handle = os.open(path, _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            raise AbsentError(
                f"'{name}' of the registry '{self.name}' is absent", fix="Look at the place named"
            ) from None
        except OSError as error:
            raise InputError(f"'{name}' of the registry cannot be read ({error.strerror})", fix="Look at it") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise ArtefactError(f"'{name}' of the registry is no plain file", fix="Put a file there")
        return handle


def write_folder(folder: Path, files: Iterator[tuple[str, Iterator[bytes]]]) -> None:
    """Write files into a new folder so that all of it is on disk before this returns.

    Args:
        folder: Not there yet.
        files: Name, with '/' between folders, and the blocks of the file, taken one after the other.
    """
    make_folder(folder)
    folders = {folder}
    for name, content in files:
        path = folder / name
        for parent in path.relative_to(folder).parents:
            folders.add(folder / parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for block in content:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    for place in sorted(folders, reverse=True):
        sync_folder(place)


def _source(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block
