"""A graph over many vectors, so that a question looks at few of them: HNSW, by usearch where it is installed.

The graph keeps its vectors in 16 bits and proposes rows; their scores are computed from the index's own vectors, so
what is found may miss a neighbour but no score is approximate.

Many vectors are added by all cores at once, and rows added at the same moment may not see each other: a few in ten
thousand then hang on no other row, and no question comes to them. So each row that was added looks for itself, and
those that are not found are added again, alone. Two builds of the same rows differ in their far links.

Reference: Malkov and Yashunin 2018, Efficient and robust approximate nearest neighbor search using Hierarchical
Navigable Small World graphs.

Shapes: N vectors, D width, Q questions.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.errors import MissingDependencyError
from omnifuse.search.manifest import StoredFile, StoredGraph

INSTALL = 'pip install "omnifuse[index]"'
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 24, 160, 192
_ROWS_AT_ONCE = 16_384
# So many rows are added by one thread: a graph of few rows suffers most from rows that do not see each other
_ALONE = 4096
# A row is looked for with a narrow beam, as it is its own nearest one
_EXPANSION_SELF = 32
# Twins in 16 bits stand for each other
_TWIN = 1e-3


def can_make_graphs() -> bool:
    """Whether usearch is installed."""
    return find_spec("usearch") is not None


class Graph:
    """A graph over the first rows of a space.

    Args:
        native: The graph of usearch.
        rows: How many rows it covers; their numbers are its keys.
    """

    def __init__(self, native: Any, rows: int) -> None:
        self.native, self.rows = native, rows

    @classmethod
    def made(cls, width: int) -> Graph:
        """An empty graph.

        Raises:
            MissingDependencyError: usearch is not installed.
        """
        if not can_make_graphs():
            raise MissingDependencyError("a graph needs usearch, which is not installed", fix=f"Type: {INSTALL}")
        from usearch.index import Index as Native

        native = Native(
            ndim=width,
            metric="ip",
            dtype="f16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )
        return cls(native, 0)

    @classmethod
    def opened(cls, path: Path, rows: int, width: int, *, view: bool = True) -> Graph | None:
        """A graph from its file; None where usearch cannot read it, or it is not over these rows.

        Args:
            path: Of the file.
            rows: As in the manifest.
            width: D.
            view: Map the file and read only; else it is loaded, and can grow.
        """
        graph = cls.made(width)
        try:
            (graph.native.view if view else graph.native.load)(str(path))
        except (RuntimeError, ValueError, OSError):  # what usearch raises for a foreign or cut file
            return None
        if len(graph.native) != rows or graph.native.ndim != width:
            return None
        graph.native.expansion_search = EXPANSION_SEARCH
        return cls(graph.native, rows)

    def extend(self, blocks: Sequence[np.ndarray], present: np.ndarray) -> None:
        """Add the rows behind those that it has.

        Args:
            blocks: N vectors (.., D) in all, those it has included.
            present: (N,) bool; absent vectors get a place of their own, far from all questions.
        """
        start, self.rows = self.rows, sum(len(block) for block in blocks)
        for first, values in _stretches(blocks, start, present):
            threads = 1 if first + len(values) <= _ALONE else 0
            self.native.add(np.arange(first, first + len(values), dtype=np.uint64), values, threads=threads)
        if self.rows <= _ALONE:
            return
        for first, values in _stretches(blocks, start, present):
            lost = self._lost(first, values)
            if len(lost):
                keys = (first + lost).astype(np.uint64)
                self.native.remove(keys)
                self.native.add(keys, values[lost], threads=1)

    def _lost(self, first: int, values: np.ndarray) -> np.ndarray:
        """Places of those rows (c, D) that do not find themselves, nor a twin."""
        self.native.expansion_search = _EXPANSION_SELF
        found = self.native.search(values, 1)
        keys = np.asarray(found.keys, dtype=np.int64).reshape(-1)
        nearest = np.asarray(found.distances, dtype=np.float32).reshape(-1)
        own = 1.0 - np.square(values).sum(axis=1)
        is_lost = (keys != first + np.arange(len(values))) & (nearest > own + _TWIN) & values.any(axis=1)
        return np.flatnonzero(is_lost)

    def proposals(self, question: np.ndarray, count: int) -> np.ndarray:
        """Numbers of at most `count` rows (P,) near a question (D,); the nearest are among them, mostly."""
        self.native.expansion_search = max(EXPANSION_SEARCH, count)
        found = self.native.search(question.astype(np.float32), min(count, self.rows))
        return np.asarray(found.keys, dtype=np.int64)

    def stored(self, folder: Path) -> StoredGraph:
        """Write it to a file of its own."""
        path = folder / f"graph-{secrets.token_hex(8)}.usearch"
        self.native.save(str(path))
        with path.open("rb+") as handle:
            os.fsync(handle.fileno())
        return StoredGraph(StoredFile.of(path), self.rows)


def _stretches(blocks: Sequence[np.ndarray], first: int, present: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first row and rows (c, D) float32, from row `first` on; absent ones are 0."""
    done = 0
    for block in blocks:
        start = max(0, first - done)
        while start < len(block):
            # The first rows of all are a stretch of their own
            few = _ALONE - done - start
            stop = min(start + (few if few > 0 else _ROWS_AT_ONCE), len(block))
            values = block[start:stop].astype(np.float32)
            values[~present[done + start : done + stop]] = 0.0
            yield done + start, values
            start = stop
        done += len(block)
