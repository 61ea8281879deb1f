"""Which plain reference belongs to which recipe, in which file it stands, and fitting it."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from recipes import Recipe, table_path

from benchmarks import plain, plain_monitoring, plain_text
from benchmarks.plain import Plain, read_rows

Build = Callable[[list[dict[str, str]], np.ndarray, Path, int], tuple[str, Callable[..., np.ndarray]]]
# All others stand in plain.py
ELSEWHERE: dict[str, Build] = {
    "occupancy_past": plain_monitoring.windowed_sensors,
    "esc50": plain_monitoring.events,
    "fire": plain_monitoring.fire,
    "nlvr": plain_monitoring.statements,
    "meld": plain_text.utterances,
    "mvsa": plain_text.tweets,
    "mvsa_weighted": plain_text.weighted_tweets,
}


def reference_names(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's own reference, then further ones."""
    return (recipe.name, *recipe.references)


def reference_key(name: str) -> str:
    """Changes with the file that the reference stands in."""
    file: Any = inspect.getsourcefile(ELSEWHERE[name]) if name in ELSEWHERE else plain.__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]


def fit_reference(name: str, recipe: Recipe, data: Path, work: Path, seed: int = 0) -> Plain:
    """Fit a reference on the training table of a recipe.

    Args:
        name: One of `reference_names`.
        recipe: Says which fields may be read.
        data: Holds the data sets.
        work: Takes what is made.
        seed: Of everything random.
    """
    if name not in ELSEWHERE:
        return plain.fit_plain(recipe, data, work, seed)
    began = time.monotonic()
    path = table_path(recipe, recipe.train, data, work)
    rows = read_rows(path)
    labels = [row[recipe.label] for row in rows]
    classes = tuple(sorted(set(labels)))
    codes = np.array([classes.index(label) for label in labels])
    words, answer = ELSEWHERE[name](rows, codes, path.parent, seed)
    return Plain(classes, words, time.monotonic() - began, lambda table: answer(read_rows(table), table.parent))
