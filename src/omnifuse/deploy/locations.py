"""Where a registry may lie: a folder, a web server, an object store. The schemes are a closed list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import SplitResult, unquote, urlsplit

from omnifuse.errors import InputError, did_you_mean

OBJECT_STORES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "memory": "fsspec"}
SCHEMES = ("file", "http", "https", *OBJECT_STORES)
BLOCK_BYTES = 1 << 18
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class AbsentError(InputError):
    """A file that is not there; whoever asks for it knows what that means."""


class TooLargeError(InputError):
    """A file that goes on behind its limit."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__(f"'{name}' of the registry is larger than {most:,} bytes", fix="It was not made by omnifuse")


@dataclass(frozen=True)
class Fetched:
    """A small file.

    Attributes:
        content: Its bytes.
        tag: Changes with the content: an ETag or its like; "" where the place gives none.
    """

    content: bytes
    tag: str


class Folder(Protocol):
    """A folder that is read: on disk, behind a web server, in an object store.

    Attributes:
        name: As the user gave it, for messages.
        local: Whether it lies on this machine's own disks.
    """

    name: str
    local: bool

    def read(self, name: str, *, most: int, tag: str = "") -> Fetched | None:
        """A small file whole; None if it still has this tag.

        Raises:
            AbsentError: It is not there.
            InputError: It is larger than `most` bytes, no plain file, or cannot be fetched.
        """

    def blocks(self, name: str, *, most: int) -> Iterator[bytes]:
        """A file bit by bit, `most` bytes and no more; raises as `read` does, at any block."""

    def names(self, under: str) -> list[str] | None:
        """Files below a folder, by their names from there; None where the place cannot list them."""


class WritableFolder(Folder, Protocol):
    """A folder in which a registry can be changed."""

    def alone(self) -> AbstractContextManager[None]:
        """While it lasts nobody else changes the folder.

        Raises:
            InputError: Somebody else does; says who.
        """

    def write(self, name: str, content: bytes) -> None:
        """Write a small file: whoever reads meets the old content or the new."""

    def put(self, under: str, files: Mapping[str, Path | bytes]) -> None:
        """Make a folder of files; what an earlier writer left unfinished there is replaced."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


def open_folder(location: str | Path, *, timeout_s: float = 30.0) -> Folder:
    """The folder at a path or URL.

    Args:
        location: A path, `file://`, `http(s)://`, or that of an object store: `s3://`, `gs://`, `az://`, `abfs://`, and
            `memory://` within one process.
        timeout_s: Of an answer over the network, in seconds; a large file gets more by its size.

    Raises:
        InputError: Another scheme, or a URL with a password, a query or a fragment.
        MissingDependencyError: The object store's package is absent.
    """
    from omnifuse.deploy.local_folder import LocalFolder

    if isinstance(location, Path):
        return LocalFolder(location)
    found = _SCHEME.match(location)
    if "::" in location or (found is None and "://" in location):
        raise InputError(f"'{location}' is no place of a registry", fix=f"Give a folder, or one of {_listed()}")
    if found is None:
        return LocalFolder(Path(location))
    scheme = found[1].lower()
    if scheme not in SCHEMES:
        raise InputError(f"registries are not opened over '{scheme}://'", fix=did_you_mean(scheme, SCHEMES))
    parts = _split(location)
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InputError(f"'{location}' names another machine", fix="Write file:///PATH")
        return LocalFolder(Path(unquote(parts.path)))
    if not parts.netloc:
        raise InputError(f"'{location}' names no server or store", fix=f"Write {scheme}://NAME/PATH")
    if scheme in OBJECT_STORES:
        from omnifuse.deploy.object_store import ObjectStore

        return ObjectStore(scheme, parts.netloc + parts.path, timeout_s=timeout_s)
    from omnifuse.deploy.http_folder import HttpFolder

    return HttpFolder(parts, timeout_s=timeout_s)


def _split(location: str) -> SplitResult:
    try:
        parts = urlsplit(location)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"'{location}' is no address ({error})", fix="Write SCHEME://NAME/PATH") from None
    if parts.username is not None or parts.query or parts.fragment:
        host = location.split("://", 1)[1].rpartition("@")[2].split("/")[0].split("?")[0].split("#")[0]
        raise InputError(
            f"the address of the registry on '{host}' has a password, a query or a fragment",
            fix="Write the bare address; the store's own package finds its credentials by itself",
        )
    return parts


def _listed() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES)


def writable(folder: Folder) -> WritableFolder:
    """The folder, if a registry can be changed there.

    Raises:
        InputError: It is a web server, which is read only.
    """
    if not hasattr(folder, "alone"):
        raise InputError(
            f"'{folder.name}' is read over the web and cannot be changed", fix="Change it where its files lie"
        )
    return cast(WritableFolder, folder)
