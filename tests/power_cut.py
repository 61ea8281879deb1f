"""A disk that loses power: everything that may be on it after a cut at any moment, by the rules of POSIX alone.

The content of a file is sure once the file was synced, a name (made, renamed, removed) once its folder was. What was
not synced may be there, in part, as zeros, or not at all, each by itself and in any order.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A state of the disk: path below the watched folder to content, None for a folder
State = dict[str, bytes | None]
# So many names may wait for a sync at once: their subsets are all gone through
MOST_WAITING = 8


@dataclass
class _File:
    sure: bytes = b""
    now: bytes = b""

    def versions(self) -> list[State]:
        """What may be in it; paths are relative to itself."""
        found = {self.now}
        if self.now != self.sure:
            found |= {self.sure, b"", self.now[: len(self.now) // 2], bytes(len(self.now))}
        return [{"": content} for content in sorted(found)]


@dataclass
class _Folder:
    sure: dict[str, Any] = field(default_factory=dict)
    now: dict[str, Any] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)

    def change(self, names: dict[str, Any]) -> None:
        """Give names to files and folders, or take them away (None), all at once."""
        self.waiting.append(names)
        self.now = _with(self.now, names)

    def sync(self) -> None:
        """All names are sure."""
        self.sure, self.waiting = self.now, []

    def versions(self) -> Iterator[State]:
        """What may be in it."""
        assert len(self.waiting) <= MOST_WAITING
        for kept in itertools.product((False, True), repeat=len(self.waiting)):
            names = self.sure
            for change in itertools.compress(self.waiting, kept):
                names = _with(names, change)
            below = [[(name, version) for version in item.versions()] for name, item in names.items()]
            for chosen in itertools.product(*below):
                state: State = {"": None}
                for name, version in chosen:
                    state |= {f"{name}/{path}".rstrip("/"): content for path, content in version.items()}
                yield state


def _with(names: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in (names | change).items() if item is not None}


class Disk:
    """Watches what is written below a folder, from its present content on, which counts as synced.

    Args:
        home: The folder.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.label = home.resolve(), 0
        self.root = self._read(self.home)
        self.found: dict[Any, tuple[int, State]] = {}

    def _read(self, folder: Path) -> _Folder:
        names: dict[str, Any] = {}
        for path in folder.iterdir():
            names[path.name] = self._read(path) if path.is_dir() else _File(path.read_bytes(), path.read_bytes())
        return _Folder(names, names)

    def watch(self, patch: Any) -> None:
        """Follow the calls by which files are written.

        Args:
            patch: pytest's monkeypatch.
        """
        originals = {name: getattr(os, name) for name in ("fsync", "replace", "unlink", "rmdir", "mkdir")}

        def opened(file: Any, mode: str = "r", *more: Any, original: Any = io.open, **options: Any) -> Any:
            handle = original(file, mode, *more, **options)
            if set(mode) & set("wxa+") and not isinstance(file, int):
                self._opened(Path(file), truncated="w" in mode)
            return handle

        def fsync(descriptor: int) -> None:
            originals["fsync"](descriptor)
            self._synced(Path(f"/proc/self/fd/{descriptor}").resolve())

        def replace(source: Any, target: Any) -> None:
            self._written(Path(source))
            originals["replace"](source, target)
            self._renamed(Path(source), Path(target))

        def removed(name: str) -> Any:
            def remove(path: Any, *, dir_fd: int | None = None) -> None:
                above = Path() if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").resolve()
                whole = above / path
                originals[name](path, dir_fd=dir_fd)
                self._named(whole, None)

            return remove

        def mkdir(path: Any, mode: int = 0o777) -> None:
            originals["mkdir"](path, mode)
            self._named(Path(path), _Folder())

        patch.setattr(io, "open", opened)
        for name, changed in {"fsync": fsync, "replace": replace, "mkdir": mkdir}.items():
            patch.setattr(os, name, changed)
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, removed(name))

    def mark(self) -> None:
        """What is to last has been done once more: from now on the states carry a number one higher."""
        self.label += 1
        self._cut()

    def states(self) -> Iterator[tuple[int, State]]:
        """Each state that a cut at any moment may leave, with the number of marks before the cut."""
        yield from self.found.values()

    def _cut(self) -> None:
        for state in self.root.versions():
            self.found.setdefault((self.label, frozenset(state.items())), (self.label, state))

    def _place(self, path: Path) -> tuple[_Folder, str] | None:
        """The folder that holds a path, and its name there; None outside the watched folder."""
        whole = Path(os.path.abspath(path))
        if self.home not in whole.parents:
            return None
        folder = self.root
        for name in whole.relative_to(self.home).parts[:-1]:
            folder = folder.now[name]
        return folder, whole.name

    def _named(self, path: Path, item: Any) -> None:
        place = self._place(path)
        if place is not None:
            place[0].change({place[1]: item})
            self._cut()

    def _opened(self, path: Path, *, truncated: bool) -> None:
        place = self._place(path)
        if place is None:
            return
        if place[1] not in place[0].now:
            self._named(path, _File())
        elif truncated:
            place[0].now[place[1]].now = b""
            self._cut()

    def _written(self, path: Path) -> None:
        """Take in what a file holds by now; those of a folder were taken in when they were synced."""
        place = self._place(path)
        if place is not None and not path.is_dir():
            place[0].now[place[1]].now = path.read_bytes()
            self._cut()

    def _synced(self, path: Path) -> None:
        if path == self.home:
            self.root.sync()
        elif (place := self._place(path)) is not None:
            item = place[0].now[place[1]]
            if isinstance(item, _Folder):
                item.sync()
            else:
                self._written(path)
                item.sure = item.now
        self._cut()

    def _renamed(self, source: Path, target: Path) -> None:
        place, end = self._place(source), self._place(target)
        if place is None or end is None:
            assert place is end, "a rename out of the folder or into it is not modelled"
            return
        assert place[0] is end[0], "a rename across folders is not modelled"
        place[0].change({place[1]: None, end[1]: place[0].now[place[1]]})
        self._cut()


def lay_out(state: State, folder: Path) -> Path:
    """Write a state into a new folder."""
    for name, content in sorted(state.items()):
        path = folder / name
        if content is None:
            path.mkdir(parents=True)
        else:
            path.write_bytes(content)
    return folder
