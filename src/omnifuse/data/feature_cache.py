"""Features of frozen backbones on disk, by what they were made of: bounded, and safe for several runs at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Raised whenever the same weights give other features: older entries are then never met again
_VERSION = 1
DEFAULT_BYTES = 8 * 1024**3
# What is kept of the limit when there is too much
_KEPT = 0.8
# A file that a writer left unfinished is somebody's work only for so long
_ABANDONED_S = 3600.0


class FeatureCache:
    """A folder of arrays, each named by a digest of all that made it.

    An entry that is damaged counts as absent. Entries appear whole or not at all, under a name that tells their
    content, so runs at once never disturb each other; the least recently used are removed where there are too many.

    Args:
        folder: Made where absent. Safe to delete at any time.
        most_bytes: Limit of all entries together.
    """

    def __init__(self, folder: Path, most_bytes: int = DEFAULT_BYTES) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self.hits = self.misses = 0
        self._written = self._size()

    @staticmethod
    def stem(preprocessor: Mapping[str, Any], dtype: str) -> bytes:
        """What all rows of one field have in common: preprocessing, backbone and weights, type of number."""
        text = json.dumps([_VERSION, preprocessor, dtype], sort_keys=True)
        return hashlib.sha256(text.encode()).digest()

    @staticmethod
    def key(stem: bytes, arrays: Mapping[str, np.ndarray]) -> str:
        """Name of the features of one row.

        Args:
            stem: Of its field.
            arrays: What the backbone reads of the row; its bytes, types and shapes all count.
        """
        digest = hashlib.sha256(stem)
        for name, array in sorted(arrays.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.feat"

    def get(self, key: str) -> np.ndarray | None:
        """The features of that name, None where there are none."""
        path = self._path(key)
        try:
            with path.open("rb") as handle:
                checksum, dtype, shape = handle.readline(256).decode("ascii").split()
                data = handle.read()
            if zlib.crc32(data) != int(checksum):
                raise ValueError("damaged")
            found = np.frombuffer(data, np.dtype(dtype)).reshape([int(side) for side in shape.split(",")])
            with contextlib.suppress(OSError):
                os.utime(path)
        except (OSError, ValueError, TypeError):
            self.misses += 1
            return None
        self.hits += 1
        return found

    def put(self, key: str, features: np.ndarray) -> None:
        """Keep features; a full or read-only disk is no reason to stop."""
        data = np.ascontiguousarray(features).tobytes()
        shape = ",".join(str(side) for side in features.shape)
        path = self._path(key)
        temporary = path.with_name(f"{key[:16]}.{secrets.token_hex(8)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as handle:
                handle.write(f"{zlib.crc32(data)} {features.dtype.str} {shape}\n".encode("ascii"))
                handle.write(data)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        self._written += len(data)
        if self._written > self.most_bytes:
            self.trim()

    def trim(self) -> None:
        """Remove the least recently used entries until a fifth of the limit is free, and what writers abandoned."""
        entries = []
        now = time.time()
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):
                state = path.stat()
                if path.suffix == ".feat":
                    entries.append((state.st_mtime_ns, state.st_size, path))
                elif now - state.st_mtime > _ABANDONED_S:
                    path.unlink()
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries, key=lambda entry: entry[0]):
            if total <= self.most_bytes * _KEPT:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
        self._written = total

    def _size(self) -> int:
        total = 0
        for path in self.folder.glob("*/*.feat"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total
