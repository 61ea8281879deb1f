"""What is in a version: the name, size and SHA-256 of each of its files, and of no other."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnifuse.deploy.documents import encode_document, exact_keys, hex_digest, read_format, reading, whole, words
from omnifuse.errors import ArtefactError, InputError
from omnifuse.files import sha256_of

FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 1000
_MOST_DEPTH = 4
_MOST_NAME = 240
_FORBIDDEN = set('\\:*?"<>|')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")


@dataclass(frozen=True)
class FileEntry:
    """A file of a version.

    Attributes:
        size: Bytes.
        sha256: 64 hex digits.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class VersionManifest:
    """The files of a version.

    Attributes:
        version: Its id in the registry.
        model_id: Of the model in it: what a prediction calls `model_id`.
        files: Name below the version's folder, with '/' between folders, to what it must be.
    """

    version: str
    model_id: str
    files: dict[str, FileEntry]

    @property
    def total_bytes(self) -> int:
        """Sum of the sizes."""
        return sum(entry.size for entry in self.files.values())

    def to_bytes(self) -> bytes:
        """The manifest as it is signed and kept."""
        files = {name: {"size": entry.size, "sha256": entry.sha256} for name, entry in self.files.items()}
        return encode_document(
            {"format": FORMAT, "version": self.version, "model_id": self.model_id, "files": files},
        )

    @classmethod
    def from_bytes(cls, content: bytes, what: str) -> VersionManifest:
        """Read a manifest whose signature and digest were checked before.

        Raises:
            ArtefactError: It is damaged, of another format, or names a file that could lie outside its folder.
        """
        data = read_format(content, what, FORMAT)
        with reading(what):
            exact_keys(data, {"format", "version", "model_id", "files"})
            files = {name: _entry(item) for name, item in data["files"].items()}
            found = cls(check_version_id(data["version"]), words(data["model_id"], 100), files)
        check_names(list(files), what)
        return found


def _entry(data: Any) -> FileEntry:
    exact_keys(data, {"size", "sha256"})
    return FileEntry(whole(data["size"]), hex_digest(data["sha256"]))


def check_version_id(version: Any) -> str:
    """The id itself, if it can name a folder on every system.

    Raises:
        InputError: It cannot.

    Example:
        >>> check_version_id("2026-11-rooms")
        '2026-11-rooms'
    """
    if not isinstance(version, str) or not _VERSION.fullmatch(version) or _DEVICES.match(version):
        raise InputError(
            f"'{str(version)[:80]}' cannot be the name of a version",
            fix="Take 1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit and do not end with a dot",
        )
    return version


def check_names(names: list[str], what: str) -> None:
    """Refuse names that could lead out of a folder, or mean the same file on some system.

    Raises:
        ArtefactError: Names the first such file.
    """
    if not 1 <= len(names) <= MAX_FILES:
        raise ArtefactError(f"'{what}' names {len(names)} files", fix=f"A version has 1 to {MAX_FILES}")
    seen: dict[str, str] = {}
    for name in names:
        if not _sound(name):
            raise ArtefactError(
                f"'{_shown(name)}' of '{what}' is no name of a file inside a version",
                fix="Names are relative, without '..', without a dot at their start, and of letters every system has",
            )
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise ArtefactError(f"'{name}' and '{seen[key]}' of '{what}' are one file on some systems", fix="Rename it")
        seen[key] = name
    for name in names:
        for end in [place for place, letter in enumerate(name) if letter == "/"]:
            folder = unicodedata.normalize("NFC", name[:end]).casefold()
            if folder in seen:
                raise ArtefactError(f"'{seen[folder]}' of '{what}' is a file and a folder", fix="Rename it")


def _sound(name: str) -> bool:
    parts = name.split("/")
    return len(name.encode("utf-8", "replace")) <= _MOST_NAME and len(parts) <= _MOST_DEPTH and all(map(_plain, parts))


def _plain(part: str) -> bool:
    return (
        bool(part)
        and part.isprintable()
        and part[0] not in ". ~"
        and part[-1] not in ". "
        and not _FORBIDDEN & set(part)
        and not _DEVICES.match(part)
    )


def _shown(name: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in name[:120])
    return text + "..." * (len(name) > 120)


def plain_files(folder: Path, what: str) -> dict[str, Path]:
    """Every file below a folder, which holds nothing but folders and plain files.

    Args:
        folder: Walked without following a link.
        what: Its name in a message.

    Returns:
        Name with '/' between folders to path, sorted.

    Raises:
        ArtefactError: It holds a link, a pipe or a device; names it.
    """
    found: dict[str, Path] = {}
    open_folders = [(folder, "")]
    while open_folders:
        place, prefix = open_folders.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                name = prefix + entry.name
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    if name.count("/") >= _MOST_DEPTH:
                        raise ArtefactError(f"'{_shown(name)}' of '{what}' lies too deep", fix="Remove it")
                    open_folders.append((Path(entry.path), name + "/"))
                elif stat.S_ISREG(mode):
                    found[name] = Path(entry.path)
                else:
                    kind = "a symbolic link" if stat.S_ISLNK(mode) else "a pipe, socket or device"
                    raise ArtefactError(f"'{_shown(name)}' of '{what}' is {kind}, no file", fix="Put a file there")
                if len(found) > MAX_FILES:
                    raise ArtefactError(f"'{what}' holds more than {MAX_FILES} files", fix="Give a model folder")
    return dict(sorted(found.items()))


def describe(files: dict[str, Path], version: str, model_id: str) -> VersionManifest:
    """The manifest of files as they lie on disk.

    Raises:
        ArtefactError: A name is one that a version cannot have.
    """
    check_names(list(files), version)
    entries = {name: FileEntry(path.stat().st_size, sha256_of(path)) for name, path in files.items()}
    return VersionManifest(version, model_id, entries)


def digest_of(content: bytes) -> str:
    """Hex SHA-256 of bytes in memory."""
    return hashlib.sha256(content).hexdigest()
