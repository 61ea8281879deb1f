"""The graphs of an index: opened once, made anew where damaged, asked beside an exact pass over what they do not cover.

Shapes: Q questions, D width, K results, R rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omnifuse.errors import ArtefactError
from omnifuse.search.exact import nearest
from omnifuse.search.graph import Graph, can_make_graphs
from omnifuse.search.manifest import StoredGraph
from omnifuse.search.snapshot import Snapshot

# Filters that leave fewer rows are answered exactly, and so is what a graph does not cover
_EXACT_KEPT = 20_000
_SPARE = 2
_FEWEST_PROPOSALS = 64
_MOST_PROPOSALS = 4096


class Graphs:
    """Graphs by space.

    Args:
        folder: Of the index.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, tuple[str, Graph]] = {}

    def opened(self, snapshot: Snapshot, space: str) -> Graph | None:
        """The graph of a space, made anew in memory where its file is damaged; None where there is none."""
        stored = snapshot.manifest.graphs.get(space)
        if stored is None or not can_make_graphs():
            return None
        known = self._open.get(space)
        if known is not None and known[0] == stored.file.name:
            return known[1]
        graph = self._read(snapshot, space, stored, view=True)
        if graph is None:
            graph = Graph.made(snapshot.manifest.spaces[space])
            graph.extend(snapshot.blocks(space), _present(snapshot, space))
        self._open[space] = (stored.file.name, graph)
        return graph

    def grown(self, snapshot: Snapshot, space: str) -> StoredGraph:
        """A graph over all rows, written to a new file."""
        stored = snapshot.manifest.graphs.get(space)
        graph = None if stored is None else self._read(snapshot, space, stored, view=False)
        graph = graph or Graph.made(snapshot.manifest.spaces[space])
        graph.extend(snapshot.blocks(space), _present(snapshot, space))
        return graph.stored(self.folder)

    def _read(self, snapshot: Snapshot, space: str, stored: StoredGraph, *, view: bool) -> Graph | None:
        """The graph in a file, None where it is not what was written or covers rows that are not there."""
        try:
            path = stored.file.check(self.folder, content=True, what="It is a graph")
        except ArtefactError:
            return None
        if stored.rows > snapshot.num_rows:
            return None
        return Graph.opened(path, stored.rows, snapshot.manifest.spaces[space], view=view)

    def nearest(
        self, graph: Graph, snapshot: Snapshot, questions: np.ndarray, count: int, kept: np.ndarray, space: str
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """As `exact.nearest`, through a graph.

        More rows are proposed until enough of them may be found; where a filter leaves few rows, or the proposals do
        not suffice, all that may be found are compared, so that a filtered question still gets `count` answers.

        Args:
            graph: Over the first rows of the space.
            snapshot: All rows.
            questions: (Q, D) of unit length.
            count: K.
            kept: (R,) bool, which rows may be found.
            space: Its name.
        """
        covered = kept[: graph.rows]
        num_covered = int(np.count_nonzero(covered))
        rest = kept.copy()
        rest[: graph.rows] = False
        blocks = snapshot.blocks(space)
        behind = nearest(blocks, questions, count, rest)
        scores, numbers = [], []
        for place, question in enumerate(questions):
            found = self._through(graph, question, count, covered, num_covered)
            if found is None:
                inside = kept.copy()
                inside[graph.rows :] = False
                one_score, one_number = (part[0] for part in nearest(blocks, question[None], count, inside))
            else:
                one_number, one_score = found, snapshot.vectors(found, space) @ question
            one_score = np.concatenate([one_score, behind[0][place]])
            one_number = np.concatenate([one_number, behind[1][place]])
            order = np.lexsort((one_number, -one_score))[:count]
            scores.append(one_score[order])
            numbers.append(one_number[order])
        return scores, numbers

    def _through(
        self, graph: Graph, question: np.ndarray, count: int, covered: np.ndarray, num_covered: int
    ) -> np.ndarray | None:
        """Numbers of rows that may be found, at least `count` of them; None where an exact pass is the better way."""
        if num_covered <= max(_EXACT_KEPT, count):
            return None
        share = num_covered / len(covered)
        asked = max(int(_SPARE * count / share), _FEWEST_PROPOSALS)
        while asked <= _MOST_PROPOSALS:
            proposed = graph.proposals(question, asked)
            found: np.ndarray = proposed[covered[proposed]]
            # As many spare ones as without a filter: those near the edge of the proposals are the least sure
            if len(found) >= min(_SPARE * count, num_covered):
                return found
            asked *= 2
        return None


def _present(snapshot: Snapshot, space: str) -> np.ndarray:
    has = snapshot.has(space)
    return np.ones(snapshot.num_rows, dtype=np.bool_) if has is None else has
