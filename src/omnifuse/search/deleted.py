"""Which rows of an index were deleted: one bit a row."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import numpy as np

from omnifuse.errors import ArtefactError
from omnifuse.search.manifest import StoredFile


def write_deleted(folder: Path, deleted: np.ndarray) -> StoredFile:
    """Write the bits of rows (R,) bool."""
    path = folder / f"deleted-{secrets.token_hex(8)}.bits"
    with path.open("wb") as handle:
        handle.write(np.packbits(deleted).tobytes())
        handle.flush()
        os.fsync(handle.fileno())
    return StoredFile.of(path)


def read_deleted(folder: Path, stored: StoredFile | None, num_rows: int) -> np.ndarray:
    """(R,) bool; rows that were added since are not deleted.

    Raises:
        ArtefactError: The file is absent or damaged; a few bytes, so its content is always looked at.
    """
    deleted = np.zeros(num_rows, dtype=np.bool_)
    if stored is None:
        return deleted
    path = stored.check(folder, content=True, what="It says which rows were deleted")
    bits = np.unpackbits(np.frombuffer(path.read_bytes(), dtype=np.uint8)).astype(np.bool_)
    if len(bits) > num_rows + 7:
        raise ArtefactError(f"the file '{stored.name}' of the index speaks of more rows than there are")
    count = min(len(bits), num_rows)
    deleted[:count] = bits[:count]
    return deleted
