"""A graph over many vectors, so that a question looks at few of them: HNSW, by usearch where it is installed.

The graph keeps its vectors in 16 bits and proposes rows; their scores are computed from the index's own vectors, so
what is found may miss a neighbour but no score is approximate.

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
        for first, rows in _stretches(blocks, self.rows):
            values = rows.astype(np.float32)
            values[~present[first : first + len(rows)]] = 0.0
            self.native.add(np.arange(first, first + len(rows), dtype=np.uint64), values)
        self.rows = sum(len(block) for block in blocks)

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


def _stretches(blocks: Sequence[np.ndarray], first: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first row and rows (c, D), from row `first` on."""
    done = 0
    for block in blocks:
        for start in range(max(0, first - done), len(block), _ROWS_AT_ONCE):
            yield done + start, block[start : start + _ROWS_AT_ONCE]
        done += len(block)
