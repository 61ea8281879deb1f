"""Vectors on a plane: principal components, then moved so that neighbours stay neighbours.

The move is by attraction along the edges of the nearest-neighbour graph and repulsion from points drawn at random, as
in LargeVis and UMAP, with weights of 1 and the kernel 1 / (1 + d^2). It is kept only where more neighbours are then
neighbours on the plane.

References: Tang et al. 2016, Visualizing large-scale and high-dimensional data, WWW; McInnes et al. 2018, UMAP.

Shapes: N points, D width, E edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.search.exact import nearest

_NEIGHBOURS = 10
_STEPS = 150
_DRAWN = 4
_LONGEST_MOVE = 4.0


@dataclass(frozen=True)
class Layout:
    """Points on a plane.

    Attributes:
        places: (N, 2) in -1 to 1.
        method: "principal components", or with "neighbours" where they were moved.
        kept: Share (0 to 1) of the 10 nearest vectors that are among the 10 nearest points.
        explained: Share of the variance in the first two principal components.
    """

    places: np.ndarray
    method: str
    kept: float
    explained: float


def lay_out(vectors: np.ndarray, *, seed: int = 0) -> Layout:
    """Points on a plane for vectors (N, D); some thousands at most."""
    values = np.asarray(vectors, np.float64)
    centred = values - values.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    total = float(np.square(sizes).sum())
    places = np.zeros((len(values), 2))
    width = min(2, len(sizes))
    places[:, :width] = centred @ directions[:width].T
    explained = float(np.square(sizes[:2]).sum() / total) if total > 0 else 1.0
    neighbours = _neighbours(values)
    best = Layout(_scaled(places), "principal components", _kept(places, neighbours), explained)
    if len(values) > 3 * _NEIGHBOURS:
        moved = _moved(_scaled(places) * 10, neighbours, seed)
        kept = _kept(moved, neighbours)
        if np.isfinite(moved).all() and kept > best.kept:
            best = Layout(
                _scaled(moved), "principal components, moved so that neighbours stay together", kept, explained
            )
    return best


def _scaled(places: np.ndarray) -> np.ndarray:
    """Into -1 to 1; far outliers at the edge, so that they do not press the others together."""
    centre = np.median(places, axis=0)
    size = max(float(np.percentile(np.abs(places - centre), 99.5)), 1e-9)
    return np.asarray(np.clip((places - centre) / size, -1.0, 1.0))


def _neighbours(values: np.ndarray) -> np.ndarray:
    """(N, k) numbers of the nearest other points, by distance."""
    count = min(_NEIGHBOURS, len(values) - 1)
    # The nearest by distance are those with the largest x.y - |y|^2 / 2
    wide = np.concatenate([values, -0.5 * np.square(values).sum(axis=1, keepdims=True)], axis=1).astype(np.float32)
    asked = np.concatenate([values, np.ones((len(values), 1))], axis=1).astype(np.float32)
    _, numbers = nearest([wide], asked, count + 1)
    return np.array([listed[listed != row][:count] for row, listed in enumerate(numbers)], dtype=np.int64)


def _kept(places: np.ndarray, neighbours: np.ndarray) -> float:
    if not neighbours.size:
        return 1.0
    near = _neighbours(places - places.mean(axis=0))
    shared = [len(np.intersect1d(one, two)) for one, two in zip(near, neighbours, strict=True)]
    return float(np.mean(shared)) / int(neighbours.shape[1])


def _moved(places: np.ndarray, neighbours: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    count, width = neighbours.shape
    # Points that lie on each other would never part
    places = places + random.normal(scale=1e-2, size=places.shape)
    heads = np.repeat(np.arange(count), width)
    tails = neighbours.ravel()
    for step in range(_STEPS):
        rate = 1.0 - step / _STEPS
        move = np.zeros_like(places)
        apart = places[heads] - places[tails]
        pull = -2.0 * apart / (1.0 + np.square(apart).sum(axis=1, keepdims=True))
        _add(move, heads, pull)
        _add(move, tails, -pull)
        for _ in range(_DRAWN):
            drawn = random.integers(0, count, count)
            apart = places - places[drawn]
            squared = np.square(apart).sum(axis=1, keepdims=True)
            push = 2.0 * apart / ((0.01 + squared) * (1.0 + squared))
            move += np.clip(push, -_LONGEST_MOVE, _LONGEST_MOVE) * width / _DRAWN
        places = places + 0.1 * rate * np.clip(move, -_LONGEST_MOVE, _LONGEST_MOVE)
    return places


def _add(move: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Sum the values (E, 2) of each row into `move` (N, 2)."""
    for axis in (0, 1):
        move[:, axis] += np.bincount(rows, values[:, axis], minlength=len(move))
