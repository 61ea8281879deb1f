"""Decoded media on disk, by content: the same bytes under the same preprocessing are never decoded twice."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np


class MediaCache:
    """A folder of arrays; a damaged or foreign entry counts as absent.

    Args:
        folder: Made where absent. Safe to delete at any time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._homes: dict[int, Path] = {}

    def _path(self, key: str, preprocessor: Any) -> Path:
        home = self._homes.get(id(preprocessor))
        if home is None:
            text = json.dumps(preprocessor.to_json(), sort_keys=True)
            home = self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
            home.mkdir(parents=True, exist_ok=True)
            self._homes[id(preprocessor)] = home
        return home / f"{key}.npy"

    def get(self, key: str, preprocessor: Any) -> dict[str, np.ndarray] | None:
        """The arrays of a medium, None where they are not known."""
        try:
            with self._path(key, preprocessor).open("rb") as handle:
                name = handle.readline(64).decode("ascii").strip()
                return {name: np.load(io.BytesIO(handle.read()), allow_pickle=False)}
        except (OSError, ValueError, EOFError):
            return None

    def put(self, key: str, preprocessor: Any, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays of a medium; a full disk is no reason to stop."""
        if len(arrays) != 1:
            return
        ((name, array),) = arrays.items()
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        path = self._path(key, preprocessor)
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_bytes(name.encode("ascii") + b"\n" + buffer.getvalue())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
