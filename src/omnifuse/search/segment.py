"""One segment of an index: vectors that are mapped from disk, and the rows' columns in an Arrow file.

Shapes: R rows of the segment, D width of a space.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from omnifuse.errors import ArtefactError
from omnifuse.search.manifest import Manifest, StoredFile, StoredSegment

ID, KEY, HAS = "omnifuse:id", "omnifuse:key", "omnifuse:has:"
RESERVED = "omnifuse:"


def write_segment(
    folder: Path,
    frame: pl.DataFrame,
    vectors: Mapping[str, np.ndarray],
    *,
    precision: str,
    root: str = "",
) -> StoredSegment:
    """Write the files of a segment; they belong to the index once its manifest names them.

    Args:
        folder: Of the index.
        frame: Columns, ids (`ID`) and keys (`KEY`) of R rows.
        vectors: Space to (R, D) of unit length; a row of zeros where it has none.
        precision: As in the manifest.
        root: As in `StoredSegment`.
    """
    stem = f"rows-{secrets.token_hex(8)}"
    for number, (_, values) in enumerate(vectors.items()):
        has = values.any(axis=1)
        if not has.all():
            frame = frame.with_columns(pl.Series(f"{HAS}{number}", has))
    table = folder / f"{stem}.arrow"
    with table.open("wb") as handle:
        frame.write_ipc(handle, compression="uncompressed")
        handle.flush()
        os.fsync(handle.fileno())
    stored = {}
    for number, (name, values) in enumerate(vectors.items()):
        path = folder / f"{stem}.{number}.vectors"
        with path.open("wb") as handle:
            handle.write(np.ascontiguousarray(values, dtype=np.dtype(precision).newbyteorder("<")).data)
            handle.flush()
            os.fsync(handle.fileno())
        stored[name] = StoredFile.of(path)
    return StoredSegment(frame.height, StoredFile.of(table), stored, root)


class Segment:
    """A segment that is open for reading.

    Args:
        folder: Of the index.
        stored: What it must be.
        manifest: Of the index.
        first: Number of its first row in the index.
        check: Compare the digests of all its files.

    Raises:
        ArtefactError: A file is absent or damaged.
    """

    def __init__(self, folder: Path, stored: StoredSegment, manifest: Manifest, *, first: int, check: bool) -> None:
        self.stored, self.first = stored, first
        what = f"It holds rows {first + 1} to {first + stored.rows}"
        paths = {name: file.check(folder, content=check, what=what) for name, file in stored.vectors.items()}
        table = stored.table.check(folder, content=check, what=what)
        dtype = np.dtype(manifest.precision).newbyteorder("<")
        self.vectors: dict[str, np.ndarray] = {}
        for name, width in manifest.spaces.items():
            if name not in paths or paths[name].stat().st_size != stored.rows * width * dtype.itemsize:
                raise ArtefactError(f"the index is damaged: '{name}' has not {stored.rows} vectors", where=what)
            mapped = np.memmap(paths[name], dtype=dtype, mode="r", shape=(stored.rows, width))
            self.vectors[name] = np.asarray(mapped)
        try:
            frame = pl.read_ipc(table)
        except (pl.exceptions.PolarsError, OSError):
            raise ArtefactError(f"the file '{table.name}' of the index cannot be read", where=what) from None
        if frame.height != stored.rows or ID not in frame.columns:
            raise ArtefactError(f"the file '{table.name}' of the index has not {stored.rows} rows", where=what)
        self.frame = frame

    @property
    def rows(self) -> int:
        """R."""
        return self.stored.rows

    def has(self, space: str) -> np.ndarray | None:
        """(R,) bool, which rows have a vector in a space; None where all have."""
        name = f"{HAS}{list(self.vectors).index(space)}"
        return np.asarray(self.frame.get_column(name).to_numpy(), bool) if name in self.frame.columns else None
