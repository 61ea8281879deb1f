"""An index as one reader sees it: segments in order, the columns over all of them, and the rows that live.

Shapes: R rows, deleted ones included, D width of a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from omnifuse.search.deleted import read_deleted
from omnifuse.search.manifest import Manifest, StoredSegment
from omnifuse.search.segment import HAS, ID, KEY, Segment, write_segment

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Snapshot:
    """An index at one serial.

    Attributes:
        folder: Of the index.
        manifest: What it is made of.
        segments: Open for reading.
        live: (R,) bool, False where deleted.
    """

    folder: Path
    manifest: Manifest
    segments: tuple[Segment, ...]
    live: np.ndarray

    @classmethod
    def opened(
        cls, folder: Path, manifest: Manifest, *, check: bool, known: Sequence[Segment] = ()
    ) -> Snapshot:  # fmt: skip
        """Open what the manifest names; segments in `known` are not opened again."""
        open_ones = {segment.stored.table.name: segment for segment in known}
        segments: list[Segment] = []
        first = 0
        for stored in manifest.segments:
            segment = open_ones.get(stored.table.name)
            if segment is None or segment.first != first:
                segment = Segment(folder, stored, manifest, first=first, check=check)
            segments.append(segment)
            first += stored.rows
        live = ~read_deleted(folder, manifest.deleted, first)
        return cls(folder, manifest, tuple(segments), live)

    def advanced(self, manifest: Manifest) -> Snapshot:
        """The snapshot of a later manifest; only what is new is opened."""
        return Snapshot.opened(self.folder, manifest, check=False, known=self.segments)

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.live)

    def blocks(self, space: str) -> list[np.ndarray]:
        """Vectors of all rows, a block (.., D) a segment."""
        return [segment.vectors[space] for segment in self.segments]

    def has(self, space: str) -> np.ndarray | None:
        """(R,) bool, which rows have a vector in a space; None where all have."""
        parts = [segment.has(space) for segment in self.segments]
        if all(part is None for part in parts):
            return None
        return np.concatenate(
            [
                np.ones(segment.rows, dtype=np.bool_) if part is None else part
                for segment, part in zip(self.segments, parts, strict=True)
            ]
        )

    def column(self, name: str) -> pl.Series:
        """One column of all rows."""
        return self.frame((name,)).get_column(name)

    def frame(self, names: Sequence[str]) -> pl.DataFrame:
        """Columns of all rows; missing in segments that were added without them."""
        return pl.DataFrame([self._columns[name] for name in names])

    @cached_property
    def _columns(self) -> dict[str, pl.Series]:
        kinds = {name: kind.dtype for name, kind in self.manifest.columns.items()}
        dtypes: dict[str, pl.DataType] = {ID: pl.String(), KEY: pl.String(), **kinds}
        if not self.segments:
            return {name: pl.Series(name, [], dtype=dtype) for name, dtype in dtypes.items()}
        return {
            name: pl.concat([_column(segment, name, dtype) for segment in self.segments], rechunk=False)
            for name, dtype in dtypes.items()
        }

    def vectors(self, numbers: np.ndarray, space: str) -> np.ndarray:
        """Vectors (P, D) float32 of rows by number, in the order asked."""
        numbers = np.asarray(numbers, dtype=np.int64)
        found = np.empty((len(numbers), self.manifest.spaces[space]), dtype=np.float32)
        for segment in self.segments:
            places = np.flatnonzero((numbers >= segment.first) & (numbers < segment.first + segment.rows))
            if len(places):
                found[places] = segment.vectors[space][numbers[places] - segment.first]
        return found

    def rows(self, numbers: np.ndarray) -> list[dict[str, Any]]:
        """Columns of rows by number, as Python values."""
        names = list(self.manifest.columns)
        if not names:
            return [{} for _ in numbers]
        return pl.DataFrame([self._columns[name].gather(numbers) for name in names]).to_dicts()

    def root(self, number: int) -> str:
        """Folder that relative paths in a row resolve against; "" where none is known."""
        for segment in self.segments:
            if segment.first <= number < segment.first + segment.rows:
                return segment.stored.root
        return ""

    def joined(self, folder: Path, most: int) -> tuple[StoredSegment, ...]:
        """Segments in which runs of small neighbours are one; at most about `most` large ones stay as they are.

        A segment is small where it has fewer rows than a `most`-th of all; only neighbours of one root are joined.
        """
        limit = max(1, self.num_rows // most)
        found: list[StoredSegment] = []
        run: list[Segment] = []

        def close() -> None:
            if len(run) > 1:
                found.append(self._written(folder, run))
            else:
                found.extend(segment.stored for segment in run)
            run.clear()

        for segment in self.segments:
            if segment.rows >= limit or (run and run[0].stored.root != segment.stored.root):
                close()
            if segment.rows >= limit:
                found.append(segment.stored)
            else:
                run.append(segment)
        close()
        return tuple(found)

    def copied(self, folder: Path) -> tuple[StoredSegment, ...]:
        """Live rows written to another folder, a segment for each that has any."""
        found = []
        for segment in self.segments:
            live = np.flatnonzero(self.live[segment.first : segment.first + segment.rows])
            for start in range(0, len(live), _ROWS_AT_ONCE * 16):
                rows = live[start : start + _ROWS_AT_ONCE * 16]
                frame = _bare(segment.frame)[rows]
                vectors = {name: values[rows] for name, values in segment.vectors.items()}
                precision = self.manifest.precision
                found.append(write_segment(folder, frame, vectors, precision=precision, root=segment.stored.root))
        return tuple(found)

    def _written(self, folder: Path, run: Sequence[Segment]) -> StoredSegment:
        frame = pl.concat([_bare(segment.frame) for segment in run], how="diagonal")
        vectors = {
            name: np.concatenate([segment.vectors[name] for segment in run]) for name in self.manifest.spaces
        }  # fmt: skip
        root = run[0].stored.root
        return write_segment(folder, frame, vectors, precision=self.manifest.precision, root=root)


def _bare(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the columns that say which vectors are there: they are made anew."""
    return frame.select([name for name in frame.columns if not name.startswith(HAS)])


def _column(segment: Segment, name: str, dtype: pl.DataType) -> pl.Series:
    if name in segment.frame.columns:
        return segment.frame.get_column(name)
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, segment.rows)
