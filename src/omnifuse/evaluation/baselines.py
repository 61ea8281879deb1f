"""Simple models on the same rows: what a network must beat to be worth its cost.

Each reads one field by its usual simple features, one reads the simple features of all fields. In each split everything
is fitted on the training rows alone. A baseline that does not fit into the time limit is left out, and a note says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from omnifuse.data.text import clean_text
from omnifuse.evaluation.features import (
    chunk_features,
    date_features,
    picture_features,
    place_features,
    series_features,
    sound_features,
    table_features,
    tag_features,
    video_features,
)
from omnifuse.evaluation.fitted_features import (
    Features,
    joined,
    one_hot,
    reduced_components,
    standardised,
    unchanged,
    word_counts,
)
from omnifuse.evaluation.learners import (
    LINEAR,
    SPARSE_LINEAR,
    TREES,
    VECTOR_MACHINE,
    Learner,
    learn_and_answer,
    prior_scores,
)
from omnifuse.evaluation.metrics import known_rows
from omnifuse.schema import Input, Modality, Schema, Target, TaskKind

if TYPE_CHECKING:
    from omnifuse.data.pack import Pack

# Training and asked row numbers of one split
Split = tuple[np.ndarray, np.ndarray]

MAJORITY = "majority"
MOST_TREE_TAGS = 20
MOST_TRAIN_ROWS = 20_000
FEWEST_ROWS = 5


class Columns(Protocol):
    """What is read of a table: the cells of a column, None for missing ones."""

    def cells(self, column: str, rows: np.ndarray | None = None) -> list[Any]:
        """Cells of some rows of a column."""
        ...


@dataclass(frozen=True)
class BaselineData:
    """What the simple models read; all arrays are over the R rows of the table.

    Attributes:
        table: For the texts.
        schema: Names the inputs.
        preprocessors: Input name to fitted preprocessor.
        packs: Input name to decoded arrays.
        target: What is asked.
        truth: Its labels, as for `score`.
    """

    table: Columns
    schema: Schema
    preprocessors: Mapping[str, Any]
    packs: Mapping[str, Pack]
    target: Target
    truth: np.ndarray

    @property
    def num_classes(self) -> int:
        """C; 1 for regression."""
        return max(len(self.target.classes), 1)

    @cached_property
    def known(self) -> np.ndarray:
        """(R,) bool: rows with a label."""
        return known_rows(self.target.kind, self.truth)


@dataclass(frozen=True)
class Baselines:
    """Answers of the simple models.

    Attributes:
        scores: Name to (Q, C) probabilities or (Q,) values of the asked rows, in their order.
        notes: What was left out and why.
        seconds: Name to time taken.
    """

    scores: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Baseline:
    name: str
    learner: Learner
    features: Features
    present: np.ndarray


def simple_baselines(
    data: BaselineData, splits: Sequence[Split], rows: np.ndarray, *, seed: int = 0, seconds: float = 120.0
) -> Baselines:
    """Fit the simple models and answer the scored rows.

    "majority" always; "FIELD: tf-idf + linear" for text, "FIELD: pixels + linear" for pictures, "FIELD: mfcc + svm" for
    sounds, "FIELD: statistics + linear" and "FIELD: trees" for series, "FIELD: linear" and "FIELD: trees" for table and
    date inputs, "all fields: trees" where there are several.

    Args:
        data: Table, packs and labels.
        splits: (training rows, asked rows) of each fold, or one pair with separate cuts. Training rows without a label
            are left out; of more than 20,000 a random part is used (5,000 for support vector machines).
        rows: (Q,) scored rows; each must be asked in one split.
        seed: Of thinning and learners.
        seconds: Time limit of all together. It is checked before each fit, so that the last one may overrun it.

    Returns:
        Answers for `rows`. A row that lacks a model's field is answered by the class shares of the training rows.
    """
    place = np.full(len(data.truth), -1)
    place[rows] = np.arange(len(rows))
    ends = time.monotonic() + seconds
    scores = {MAJORITY: _majority(data, splits, place, len(rows))}
    notes, taken = [], {}
    for baseline in _baselines(data):
        started = time.monotonic()
        found, why = _run(data, baseline, splits, place, len(rows), seed=seed, ends=ends)
        if found is None:
            notes.append(f"The simple model '{baseline.name}' was left out: {why}.")
            continue
        scores[baseline.name] = found
        taken[baseline.name] = time.monotonic() - started
    return Baselines(scores, tuple(notes), taken)


def _empty(data: BaselineData, count: int) -> np.ndarray:
    shape = (count,) if data.target.kind is TaskKind.REGRESSION else (count, data.num_classes)
    return np.full(shape, np.nan)


def _prior(data: BaselineData, train: np.ndarray) -> Any:
    labels = data.truth[train[data.known[train]]]
    prior = prior_scores(data.target.kind, labels, data.num_classes)
    return prior[0] if data.target.kind is TaskKind.REGRESSION else prior


def _majority(data: BaselineData, splits: Sequence[Split], place: np.ndarray, count: int) -> np.ndarray:
    result = _empty(data, count)
    for train, asked in splits:
        result[place[asked[place[asked] >= 0]]] = _prior(data, train)
    assert not np.isnan(result).any(), "some scored rows are asked in no split"
    return result


def _run(
    data: BaselineData,
    baseline: _Baseline,
    splits: Sequence[Split],
    place: np.ndarray,
    count: int,
    *,
    seed: int,
    ends: float,
) -> tuple[np.ndarray | None, str]:
    """Answers of one baseline, or None and why it was left out."""
    result = _empty(data, count)
    learnt = False
    started = time.monotonic()
    for number, (train, asked) in enumerate(splits):
        asked = asked[place[asked] >= 0]
        result[place[asked]] = _prior(data, train)
        # The folds so far tell how long the rest takes
        now = time.monotonic()
        left = (now - started) / number * (len(splits) - number) if number else 0.0
        if now + left > ends:
            return None, "it does not fit into the time limit"
        usable = train[data.known[train] & baseline.present[train]]
        asked = asked[baseline.present[asked]]
        if len(usable) < FEWEST_ROWS or not len(asked):
            continue
        if len(usable) > MOST_TRAIN_ROWS:
            kept = np.random.default_rng(seed).choice(len(usable), MOST_TRAIN_ROWS, replace=False)
            usable = usable[np.sort(kept)]
        result[place[asked]] = _answers(data, baseline, usable, asked, seed)
        learnt = True
    return (result, "") if learnt else (None, f"fewer than {FEWEST_ROWS} rows have a label and this field")


def _answers(data: BaselineData, baseline: _Baseline, train: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
    seen, wanted = baseline.features(train, asked)
    kind, labels = data.target.kind, data.truth[train]
    return learn_and_answer(baseline.learner, kind, seen, labels, wanted, num_classes=data.num_classes, seed=seed)


def _baselines(data: BaselineData) -> Iterator[_Baseline]:
    """Quick ones first, features made when their turn comes; they are kept for the model of all fields."""
    order = (
        Modality.TABLE,
        Modality.DATE,
        Modality.SERIES,
        Modality.PLACE,
        Modality.TAGS,
        Modality.TEXT,
        Modality.AUDIO,
        Modality.IMAGE,
        Modality.VIDEO,
    )
    quick = {modality: number for number, modality in enumerate(order)}
    known = [item for item in data.schema.inputs if item.modality in quick]
    inputs = sorted(known, key=lambda item: quick[item.modality])
    trees = data.target.kind is not TaskKind.TAGGING or data.num_classes <= MOST_TREE_TAGS
    small: list[Features] = []
    for item in inputs:
        present = data.packs[item.name].present
        learners, compact = _of_input(data, item)
        small.append(compact)
        for name, learner, features in learners:
            if learner is not TREES or trees:
                yield _Baseline(f"{item.name}: {name}", learner, features, present)
    if len(inputs) > 1 and trees:
        anything = np.any([data.packs[item.name].present for item in inputs], axis=0)
        yield _Baseline("all fields: trees", TREES, joined(small), anything)


def _of_input(data: BaselineData, item: Input) -> tuple[list[tuple[str, Learner, Features]], Features]:
    """The models of one input by name, and its features for the model of all fields."""
    pack = data.packs[item.name]
    if item.modality is Modality.TABLE:
        numbers, categories = table_features(pack)
        raw = unchanged(np.concatenate([numbers, categories.astype(np.float32)], axis=1))
        return [("linear", LINEAR, one_hot(numbers, categories)), ("trees", TREES, raw)], raw
    if item.modality is Modality.DATE:
        dates = date_features(pack)
        return [("linear", LINEAR, standardised(dates)), ("trees", TREES, unchanged(dates))], unchanged(dates)
    if item.modality is Modality.PLACE:
        places = place_features(pack)
        return [("linear", LINEAR, standardised(places)), ("trees", TREES, unchanged(places))], unchanged(places)
    if item.modality is Modality.TAGS:
        sets = tag_features(pack, data.preprocessors[item.name].num_ids)
        return [("linear", LINEAR, standardised(sets))], unchanged(sets)
    if item.modality is Modality.SERIES:
        series = series_features(pack)
        learners = [("statistics + linear", LINEAR, standardised(series)), ("trees", TREES, unchanged(series))]
        return learners, unchanged(series)
    if item.modality is Modality.TEXT:
        texts = ["" if cell is None else clean_text(cell) for cell in data.table.cells(item.columns[0])]
        words = word_counts(texts)
        return [("tf-idf + linear", SPARSE_LINEAR, words)], reduced_components(words, pack.present)
    if item.modality is Modality.AUDIO:
        if hasattr(data.preprocessors[item.name], "chunk_s"):
            scaled = standardised(chunk_features(pack))
            return [("levels + svm", VECTOR_MACHINE, scaled)], scaled
        sounds = sound_features(pack, data.preprocessors[item.name].num_mels)
        scaled = standardised(sounds)
        return [("mfcc + svm", VECTOR_MACHINE, scaled)], reduced_components(scaled, pack.present)
    if item.modality is Modality.VIDEO:
        scaled = standardised(video_features(pack))
        return [("frames + linear", LINEAR, scaled)], reduced_components(scaled, pack.present)
    scaled = standardised(picture_features(pack))
    return [("pixels + linear", LINEAR, scaled)], reduced_components(scaled, pack.present)
