"""Files of media: where they may lie, and opening them without ever waiting for a pipe or a device."""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from pathlib import Path

from omnifuse.errors import MediaError

_ADDRESS = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://|(?:data|file|https?|ftp|blob|javascript):)", re.IGNORECASE)
# O_NONBLOCK: should a pipe take the file's place between the check and the opening, opening it returns at once
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_FLAGS |= getattr(os, "O_BINARY", 0)
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
_SHOWN_LENGTH = 200


def shown_name(name: str | Path) -> str:
    """A file's name as the user gave it, on one line and of bounded length."""
    text = str(name)[: _SHOWN_LENGTH + 1]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."


def open_medium(name: str | Path, *, root: Path | None, confined: bool, max_bytes: int) -> tuple[int, int]:
    """Open a regular file for reading.

    Args:
        name: As it stands in the table; relative ones lie below `root`, else below the working directory.
        root: Folder of the media.
        confined: Refuse whatever resolves, symbolic links included, outside `root`.
        max_bytes: Refuse larger files.

    Returns:
        File descriptor, which the caller closes, and the file's size in bytes.

    Raises:
        MediaError: The name is an address, lies outside, or is not a file that can be read.
    """
    where = f"Read from '{shown_name(name)}'"
    if not str(name).strip():
        raise MediaError("The name of the file is empty")
    if _ADDRESS.match(str(name)):
        raise MediaError("Web addresses and data addresses are not opened", where=where, fix="Name a saved file")
    path = os.path.join(root, name) if root is not None else str(name)
    flags = _FLAGS
    try:
        if confined:
            path = _inside(path, root, where)
            flags |= getattr(os, "O_NOFOLLOW", 0)
        _check_regular(os.stat(path), where, max_bytes)
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise MediaError(_reason(error), where=where) from None
    try:
        return handle, _check_regular(os.fstat(handle), where, max_bytes)
    except BaseException:
        os.close(handle)
        raise


def read_medium(name: str | Path, *, root: Path | None, confined: bool, max_bytes: int) -> bytes:
    """The content of a file, read once; arguments and errors as in `open_medium`."""
    handle, size = open_medium(name, root=root, confined=confined, max_bytes=max_bytes)
    try:
        data = os.read(handle, size)
        while len(data) < size and (more := os.read(handle, size - len(data))):
            data += more
    except OSError as error:
        raise MediaError(_reason(error), where=f"Read from '{shown_name(name)}'") from None
    finally:
        os.close(handle)
    return data


@lru_cache(maxsize=64)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _inside(path: str, root: Path | None, where: str) -> str:
    """The resolved path, if it lies below the root."""
    if root is None:
        raise MediaError("Files are not opened here", where=where, fix="Give the content itself, or a folder of media")
    real, home = os.path.realpath(path), _real(str(root))
    if os.path.commonpath([real, home]) != home:
        raise MediaError("The file lies outside the folder of media", where=where, fix="Move it into that folder")
    return real


def _check_regular(status: os.stat_result, where: str, max_bytes: int) -> int:
    """Size of a file that is one."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        raise MediaError(f"This is {kind}, not a file", where=where, fix="Name a file")
    if not status.st_size:
        raise MediaError("The file is empty (0 bytes)", where=where, fix="Write it again")
    if status.st_size > max_bytes:
        raise MediaError(
            f"The file has {status.st_size / 2**20:.0f} MB, at most {max_bytes / 2**20:.0f} MB are read",
            where=where,
            fix="Make it smaller",
        )
    return status.st_size


def _reason(error: OSError | ValueError) -> str:
    """In words, without the resolved path that the system's own message holds."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "There is no such file"
    if isinstance(error, PermissionError):
        return "The file may not be read"
    if isinstance(error, OSError) and error.errno:
        return f"The file cannot be opened ({os.strerror(error.errno)})"
    return "This is not a name that a file can have"
