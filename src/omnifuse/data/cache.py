"""Decoded media on disk, by content: the same bytes under the same preprocessing are never decoded twice."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.decoded import DecodedMedium

# Raised whenever decoding gives other arrays or remarks for the same bytes: older entries are then never met again
_VERSION = 3


class MediaCache:
    """A folder of arrays; a damaged or foreign entry counts as absent.

    Args:
        folder: Made where absent. Safe to delete at any time, and to share between processes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Each preprocessor is kept beside its folder: another one could else be born with the same id
        self._homes: dict[int, tuple[Any, Path]] = {}

    def _path(self, key: str, preprocessor: Any) -> Path:
        known = self._homes.get(id(preprocessor))
        if known is None:
            text = json.dumps([_VERSION, preprocessor.to_json()], sort_keys=True)
            home = self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
            home.mkdir(parents=True, exist_ok=True)
            known = self._homes[id(preprocessor)] = (preprocessor, home)
        return known[1] / f"{key}.npy"

    def get(self, key: str, preprocessor: Any) -> DecodedMedium | None:
        """The arrays of a medium with their remarks, None where they are not known."""
        try:
            with self._path(key, preprocessor).open("rb") as handle:
                names, checksum = handle.readline(256).decode("ascii").split()
                data = handle.read()
            if zlib.crc32(data) != int(checksum):
                return None
            content = io.BytesIO(data)
            arrays = {name: np.load(content, allow_pickle=False) for name in names.split(",")}
            return DecodedMedium(arrays, json.loads(content.read() or b"[]"))
        except (OSError, ValueError, TypeError, EOFError):
            return None

    def put(self, key: str, preprocessor: Any, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays of a medium with their remarks; a full or read-only disk is no reason to stop."""
        buffer = io.BytesIO()
        for array in arrays.values():
            np.save(buffer, array, allow_pickle=False)
        remarks = getattr(arrays, "remarks", ())
        if remarks:
            buffer.write(json.dumps(remarks).encode())
        data = buffer.getvalue()
        temporary: Path | None = None
        try:
            path = self._path(key, preprocessor)
            temporary = path.with_name(f"{key}.{os.getpid()}.{threading.get_ident()}.tmp")
            with temporary.open("wb") as handle:
                handle.write(f"{','.join(arrays)} {zlib.crc32(data)}\n".encode("ascii"))
                handle.write(data)
            temporary.replace(path)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
