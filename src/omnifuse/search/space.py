"""The space of an index, measured: where its modalities lie and how well they find each other.

Shapes: N rows that were drawn, P points of the map, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from omnifuse.errors import InputError, did_you_mean
from omnifuse.search.columns import ColumnKind
from omnifuse.search.geometry import alignment, hubness, modality_gap, uniformity
from omnifuse.search.index import Index
from omnifuse.search.layout import Layout, lay_out
from omnifuse.search.manifest import FUSED
from omnifuse.search.retrieval import Retrieval, measured_retrieval, partner_ranks
from omnifuse.search.segment import KEY

MOST_ROWS = 4000
MOST_POINTS = 2400
_FEWEST = 3
_MOST_CLASSES = 12
ALL_FIELDS = "all fields"


@dataclass(frozen=True)
class FieldPair:
    """Two fields of the rows that have both."""

    one: str
    other: str
    rows: int
    alignment: float
    gap: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "fields": [self.one, self.other],
            "rows": self.rows,
            "alignment": round(self.alignment, 6),
            "gap": round(self.gap, 6),
        }


@dataclass(frozen=True)
class SpaceMap:
    """Points on a plane.

    Attributes:
        layout: Where they are.
        numbers: (P,) row of each in the index.
        names: (P,) field of each, "all fields" for the fused vector.
        labels: (P,) label of each row, "" where it has none.
    """

    layout: Layout
    numbers: np.ndarray
    names: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class MeasuredSpace:
    """What `omnifuse report` shows.

    Attributes:
        rows: How many the index holds that fit the filter.
        drawn: N.
        uniformity: Field to its uniformity.
        hubness: Field to its hubness.
        pairs: Of every two fields that rows have together.
        retrieval: Each direction of these.
        map: Points.
        label: Column that colours the map.
        repeated: Rows drawn that repeat another one's content: they count as its partner's too.
    """

    rows: int
    drawn: int
    uniformity: dict[str, float]
    hubness: dict[str, float]
    pairs: tuple[FieldPair, ...]
    retrieval: tuple[Retrieval, ...]
    map: SpaceMap
    label: str | None
    repeated: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without the map's points."""
        return {
            "rows": self.rows,
            "drawn": self.drawn,
            "repeated": self.repeated,
            "uniformity": {name: round(value, 6) for name, value in self.uniformity.items()},
            "hubness": {name: round(value, 6) for name, value in self.hubness.items()},
            "pairs": [pair.to_json() for pair in self.pairs],
            "retrieval": [item.to_json() for item in self.retrieval],
            "map": {"method": self.map.layout.method, "neighbours_kept": round(self.map.layout.kept, 6)},
        }


def measured_space(
    index: Index, *, where: str | None = None, label: str | None = None, seed: int = 0
) -> MeasuredSpace:  # fmt: skip
    """Measure the space of an index on at most 4,000 of its rows.

    Args:
        index: Made by `index_table`.
        where: Only rows that fit this filter.
        label: Column that colours the map; by default the model's first target, else the first column of few texts.
        seed: Of the rows that are drawn.

    Raises:
        InputError: Fewer than 3 rows fit, or there is no such column.
    """
    if label is not None and label not in index.columns:
        raise InputError(f"there is no column '{label}' in the index", fix=did_you_mean(label, index.columns))
    label = label or _label(index)
    rows = np.flatnonzero(index.kept(where))
    if len(rows) < _FEWEST:
        raise InputError(f"{len(rows)} rows fit, which is too few to measure", fix=f"Give at least {_FEWEST}")
    drawn = rows
    if len(rows) > MOST_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    names = [index.space(), *(name for name in index.spaces if name.startswith(f"{FUSED}_"))]
    vectors = {_shown(name): index.vectors(drawn, name) for name in dict.fromkeys(names)}
    keys = index.snapshot.column(KEY).gather(drawn).to_list()
    codes = _codes(keys)
    full = {name: values[values.any(axis=1)] for name, values in vectors.items()}
    full = {name: values for name, values in full.items() if len(values) >= _FEWEST}
    pairs, retrieval = _pairs({name: vectors[name] for name in full if name != ALL_FIELDS}, codes, seed)
    return MeasuredSpace(
        len(rows),
        len(drawn),
        {name: uniformity(values, seed=seed) for name, values in full.items()},
        {name: hubness(values) for name, values in full.items()},
        tuple(pairs),
        tuple(retrieval),
        _map(index, drawn, vectors, label, seed),
        label,
        len(codes) - len(np.unique(codes)),
    )


def space_words(space: MeasuredSpace) -> list[str]:
    """What was measured, a sentence each."""
    found = [f"{space.drawn} of {space.rows} rows were measured."]
    for item in space.retrieval:
        recall = ", ".join(f"R@{k} {value.value:.3f}" for k, value in item.recall.items())
        chance = 10 / item.rows
        found.append(
            f"{item.asked} -> {item.found}: {recall}, median rank {item.median_rank.value:g} of {item.rows} "
            f"(by chance R@10 {min(chance, 1.0):.3f})"
        )
    found += [
        f"{pair.one} and {pair.other}: alignment {pair.alignment:.3f} (0 is best), gap {pair.gap:.3f}"
        for pair in space.pairs
    ]
    found += [
        f"{name}: uniformity {value:.2f} (lower is more even), hubness {space.hubness[name]:.2f}"
        for name, value in space.uniformity.items()
    ]
    return found


def _shown(space: str) -> str:
    return space.removeprefix(f"{FUSED}_") if space != FUSED else ALL_FIELDS


def _label(index: Index) -> str | None:
    for name in index.manifest.labels:
        if name in index.columns:
            return name
    texts = [name for name, kind in index.columns.items() if kind is ColumnKind.TEXT]
    counts = {name: index.snapshot.column(name).drop_nulls().n_unique() for name in texts}
    return next((name for name, count in counts.items() if 1 < count <= _MOST_CLASSES), None)


def _codes(keys: list[str | None]) -> np.ndarray:
    first: dict[str, int] = {}
    return np.array([first.setdefault(key, row) if key else row for row, key in enumerate(keys)], dtype=np.int64)


def _pairs(
    vectors: dict[str, np.ndarray], codes: np.ndarray, seed: int
) -> tuple[list[FieldPair], list[Retrieval]]:  # fmt: skip
    pairs: list[FieldPair] = []
    retrieval: list[Retrieval] = []
    for one, other in combinations(vectors, 2):
        both = vectors[one].any(axis=1) & vectors[other].any(axis=1)
        ones, others = vectors[one][both], vectors[other][both]
        if len(ones) < _FEWEST or ones.shape[1] != others.shape[1]:
            continue
        pairs.append(FieldPair(one, other, len(ones), alignment(ones, others), modality_gap(ones, others)))
        there = partner_ranks(ones, others, codes[both])
        back = partner_ranks(others, ones, codes[both])
        retrieval += [
            measured_retrieval(one, other, there, seed=seed),
            measured_retrieval(other, one, back, seed=seed),
        ]
    return pairs, retrieval


def _map(index: Index, drawn: np.ndarray, vectors: dict[str, np.ndarray], label: str | None, seed: int) -> SpaceMap:
    """The fused vector and the fields' vectors of as many rows as the map has room for."""
    width = next(iter(vectors.values())).shape[1]
    chosen = {name: values for name, values in vectors.items() if values.shape[1] == width}
    most = max(1, MOST_POINTS // len(chosen))
    places = np.arange(len(drawn))
    if len(places) > most:
        places = np.sort(np.random.default_rng(seed).choice(places, most, replace=False))
    numbers, names, points = [], [], []
    for name, values in chosen.items():
        has = places[values[places].any(axis=1)]
        numbers.append(drawn[has])
        names += [name] * len(has)
        points.append(values[has])
    listed = np.concatenate(numbers)
    labels = [""] * len(listed)
    if label is not None:
        cells = index.snapshot.column(label).gather(listed).to_list()
        labels = ["" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells]
    return SpaceMap(lay_out(np.concatenate(points), seed=seed), listed, tuple(names), tuple(labels))
