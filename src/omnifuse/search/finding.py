"""Finding rows in a snapshot: those that may be found, the nearest among them, and what is told of each.

Shapes: R rows, deleted ones included, D width of a space, Q questions, K results.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

from omnifuse.errors import InputError, did_you_mean
from omnifuse.search.exact import nearest
from omnifuse.search.filters import Filter
from omnifuse.search.graph import INSTALL, can_make_graphs
from omnifuse.search.graphs import Graphs
from omnifuse.search.hit import Hit
from omnifuse.search.manifest import FUSED
from omnifuse.search.segment import ID
from omnifuse.search.snapshot import Snapshot

EXACT_ROWS = 200_000


def space_name(spaces: Iterable[str], name: str | None) -> str:
    """The name of a space that is there; the first one by default. A field's name stands for its space.

    Raises:
        InputError: There is no such space.
    """
    there = list(spaces)
    if name is None:
        return there[0]
    found = name if name in there else f"{FUSED}_{name}"
    if found not in there:
        known = [space.removeprefix(f"{FUSED}_") for space in there]
        raise InputError(f"the index has no vectors '{name}'", fix=did_you_mean(name, known))
    return found


def kept_rows(snapshot: Snapshot, where: str | None, space: str) -> np.ndarray:
    """(R,) bool: which rows live, fit a filter and have a vector in a space.

    Raises:
        FilterError: The filter is wrong.
    """
    kept = snapshot.live
    if where is not None:
        chosen = Filter(where, snapshot.manifest.columns)
        kept = kept & chosen.mask(snapshot.frame(chosen.columns))
    has = snapshot.has(space)
    return kept if has is None else kept & has


def nearest_rows(
    snapshot: Snapshot, graphs: Graphs, questions: np.ndarray, count: int, kept: np.ndarray, space: str, *, exact: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As `exact.nearest`, through the graph of the space where more than 200,000 rows may be found.

    Args:
        snapshot: The index.
        graphs: Of it.
        questions: (Q, D) of unit length.
        count: K.
        kept: (R,) bool, which rows may be found.
        space: Whose vectors are compared.
        exact: Compare all, however many there are.
    """
    if not exact and int(np.count_nonzero(kept)) > EXACT_ROWS:
        graph = graphs.opened(snapshot, space)
        if graph is not None:
            return graphs.nearest(graph, snapshot, questions, count, kept, space)
        if not can_make_graphs():
            warnings.warn(
                f"more than {EXACT_ROWS} rows are compared one by one, because usearch is not installed; type: "
                f"{INSTALL}",
                stacklevel=4,
            )
    return nearest(snapshot.blocks(space), questions, count, kept)


def hits_of(snapshot: Snapshot, numbers: np.ndarray, scores: np.ndarray) -> list[Hit]:
    """Rows by number with their scores, columns included."""
    ids = snapshot.column(ID).gather(numbers).to_list()
    rows = snapshot.rows(numbers)
    return [
        Hit(name, float(score), int(number), row)
        for name, score, number, row in zip(ids, scores, numbers, rows, strict=True)
    ]
