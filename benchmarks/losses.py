"""What holes cost: the measure with all cells minus the measure with holes, seed by seed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recipes import Recipe, unfilled, whole_of
from recipes.holes import emptied_cells

from benchmarks.score import Answers, measure_over


def rows_of(recipe: Recipe, test: str, num_rows: int) -> dict[str, np.ndarray]:
    """(R,) bool: "all" rows, and those in which the holes "left" at least one cell."""
    left = (~emptied_cells(test, num_rows, len(recipe.fields), recipe.holes)).any(axis=1)
    return {"all": np.ones(num_rows, bool), "left": np.asarray(left)}


def loss_of(whole: Answers, holed: Answers, measure: str, rows: np.ndarray) -> float:
    """The measure of answers to complete rows minus that of answers to the same rows with holes.

    Args:
        whole: Answers to the complete rows.
        holed: Answers to the rows with holes.
        measure: Name of the metric.
        rows: (R,) bool, which rows count.
    """
    assert np.array_equal(whole.truth, holed.truth), "answers to different rows"
    return round(measure_over(whole, measure, rows) - measure_over(holed, measure, rows), 6)


def losses(recipe: Recipe, entry: dict[str, Any], whole: dict[str, Any], work: Path) -> dict[str, Any]:
    """Test table to the losses of ours and of the reference, one a seed.

    Args:
        recipe: One with holes.
        entry: Its results.
        whole: Those of the recipe without holes; nothing is told unless both were measured on the same source.
        work: Holds the answers of both.
    """
    try:
        if not _sources(entry) <= _sources(whole):
            raise FileNotFoundError(f"{whole_of(recipe).name} was not measured on this source")
        return {test: _losses_on(recipe, test, entry, work) for test in recipe.tests}
    except FileNotFoundError as error:
        print(f"{recipe.name}: what its holes cost is not known: {error}", file=sys.stderr)
        return {}


def _sources(entry: dict[str, Any]) -> set[Any]:
    return {(run["seed"], run["state"]) for run in entry.get("runs", ())} | {entry.get("plain", {}).get("key")}


def _losses_on(recipe: Recipe, test: str, entry: dict[str, Any], work: Path) -> dict[str, Any]:
    rows = rows_of(recipe, test, entry["tests"][test]["rows"])
    complete = work / whole_of(recipe).name

    def of(own: Path, fits: Sequence[str]) -> dict[str, list[float]]:
        files = [f"{fit}-{Path(test).stem}.npz" for fit in fits]
        pairs = [(Answers.load(complete / file), Answers.load(own / file)) for file in files]
        return {
            kind: [loss_of(whole, holed, recipe.measure, chosen) for whole, holed in pairs]
            for kind, chosen in rows.items()
        }

    return {
        "rows": {kind: int(chosen.sum()) for kind, chosen in rows.items()},
        "omnifuse": of(work / recipe.name, [f"seed{run['seed']}" for run in entry["runs"]]),
        "plain": of(work / unfilled(recipe).name, [f"plain-{seed}" for seed in range(entry["plain"]["seeds"])]),
    }
