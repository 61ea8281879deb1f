"""A registry in an object store, through fsspec."""

from __future__ import annotations

import importlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omnifuse.deploy.documents import encode_document, read_document
from omnifuse.deploy.http_folder import LEAST_BYTES_A_SECOND
from omnifuse.deploy.locations import BLOCK_BYTES, OBJECT_STORES, AbsentError, Fetched, TooLargeError
from omnifuse.deploy.locking import holder, holder_words
from omnifuse.errors import InputError, MissingDependencyError, OmnifuseError

LOCK = "lock.json"
_MAX_LOCK_BYTES = 4096


class ObjectStore:
    """A folder in an object store.

    Object stores have no locks: a writer makes an object that must not be there yet, and removes it at its end. If it
    dies before, the object stays and the next writer is told whose it is and to remove it; nothing is taken over by a
    clock.

    Args:
        scheme: One of `OBJECT_STORES`.
        path: Bucket and folder in it.
        timeout_s: Longest time for a file, in seconds, beside what its size takes; looked at between its blocks.
    """

    local = False

    def __init__(self, scheme: str, path: str, *, timeout_s: float = 30.0) -> None:
        self.name = f"{scheme}://{path.rstrip('/')}"
        self._root = path.strip("/")
        self._timeout_s = timeout_s
        self._store = _store(scheme)

    def read(self, name: str, *, most: int, tag: str = "") -> Fetched | None:
        """As `Folder.read`; the tag is made of what the store says of the object."""
        with self._told(name):
            self._store.invalidate_cache()
            info = self._store.info(self._path(name))
            if info["type"] != "file" or int(info["size"]) > most:
                raise TooLargeError(name, most)
            found = str(self._store.ukey(self._path(name)))
            if found == tag:
                return None
            content = b"".join(self.blocks(name, most=most))
        return Fetched(content, found)

    def blocks(self, name: str, *, most: int) -> Iterator[bytes]:
        """As `Folder.blocks`."""
        ends = time.monotonic() + self._timeout_s + most / LEAST_BYTES_A_SECOND
        left = most
        with self._told(name), self._store.open(self._path(name), "rb") as file:
            while block := file.read(BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise TooLargeError(name, most)
                if time.monotonic() > ends:
                    raise TimeoutError("it took too long")
                yield block

    def names(self, under: str) -> list[str]:
        """As `Folder.names`."""
        place = self._path(under)
        with self._told(under):
            self._store.invalidate_cache()
            found = [str(item).strip("/") for item in self._store.find(place)]
        return sorted(item[len(place) + 1 :] for item in found)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """As `WritableFolder.alone`."""
        token = secrets.token_hex(16)
        mine = encode_document({"token": token, "held_by": holder().decode()})
        with self._told(LOCK):
            try:
                self._store.pipe_file(self._path(LOCK), mine, mode="create")
                won = self._store.cat_file(self._path(LOCK)) == mine
            except FileExistsError:
                won = False
        if not won:
            raise InputError(
                f"another process is changing the registry '{self.name}'",
                where=self._holder(),
                fix=f"Try again when it has ended; if it died, remove '{self.name}/{LOCK}'",
            )
        try:
            yield
        finally:
            self.remove(LOCK)

    def write(self, name: str, content: bytes) -> None:
        """As `WritableFolder.write`: a store replaces an object at once."""
        with self._told(name):
            self._store.pipe_file(self._path(name), content)

    def put(self, under: str, files: Mapping[str, Path | bytes]) -> None:
        """As `WritableFolder.put`; the folder counts only when the registry names it, after this."""
        for name in self.names(under):
            self.remove(f"{under}/{name}")
        for name, content in files.items():
            with self._told(name):
                place = self._path(f"{under}/{name}")
                if isinstance(content, bytes):
                    self._store.pipe_file(place, content)
                else:
                    self._store.put_file(str(content), place)

    def remove(self, name: str) -> None:
        """As `WritableFolder.remove`."""
        with self._told(name):
            if self._store.exists(self._path(name)):
                self._store.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _holder(self) -> str:
        with self._told(LOCK):
            try:
                content: bytes = self._store.cat_file(self._path(LOCK), end=_MAX_LOCK_BYTES)
            except FileNotFoundError:
                return ""
        try:
            return holder_words(str(read_document(content, LOCK)["held_by"]).encode())
        except (InputError, KeyError):
            return ""

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Whatever a store's package raises becomes one line."""
        try:
            yield
        except OmnifuseError:
            raise
        except FileNotFoundError:
            raise AbsentError(
                f"'{name}' of the registry '{self.name}' is absent", fix="Look at the place named"
            ) from None
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
            raise InputError(
                f"'{name}' of the registry '{self.name}' cannot be reached ({reason})",
                fix="Look at the network and at the credentials of the store",
            ) from None


def _store(scheme: str) -> Any:
    """The file system of the scheme, from its own package alone: chains of schemes never come here."""
    for package in ("fsspec", OBJECT_STORES[scheme]):
        try:
            importlib.import_module(package)
        except ImportError:
            raise MissingDependencyError(
                f"registries at {scheme}:// need {package}, which is not installed", fix=f"Type: pip install {package}"
            ) from None
    import fsspec

    try:
        return fsspec.filesystem(scheme)
    except Exception as error:
        raise InputError(
            f"the store of {scheme}:// cannot be opened ({type(error).__name__})", fix="Look at its credentials"
        ) from None
