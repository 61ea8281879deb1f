"""From what a fit found to the page that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.api.written import WrittenRows
from omnifuse.data.media import MediaDoor, NoSoundError
from omnifuse.data.media_parts import media_parts
from omnifuse.data.tables import Table
from omnifuse.errors import MediaError
from omnifuse.evaluation import confidences, known_rows, reliability_bins
from omnifuse.report import Example, ReportData, write_report
from omnifuse.report.media import MAX_PICTURE, cut_text, picture_uri, sound_uri
from omnifuse.report.metrics import leading_metrics
from omnifuse.report.page import TargetData
from omnifuse.report.summary import summary_words
from omnifuse.schema import Finding, Modality, Schema, Target, TaskKind
from omnifuse.training.result import TrainingResult

MAX_EXAMPLES = 9
MAX_CONFUSION = 40
MAX_CELL = 300
# Pictures or sounds of one cell
MOST_SHOWN = 4
MOST_REFERENCES = 5
SOUND_RATE_HZ = 16_000
# Of a video the first frame is shown
VIDEO_S = 0.5


@dataclass(frozen=True)
class Scored:
    """Rows that the report speaks of.

    Attributes:
        table: Where they stand.
        rows: Their numbers in the table.
        truths: Target to labels of these rows.
        scores: Target to complete scores of these rows.
        words: Which rows they are.
        intervals: Target of regression to (R, 2) intervals of these rows.
        chosen: Target of classification to (R,) numbers of the classes that were answered.
        texts: Target that is written to what was written for some of these rows.
    """

    table: Table
    rows: np.ndarray
    truths: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    words: str
    intervals: dict[str, np.ndarray] = field(default_factory=dict)
    chosen: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, WrittenRows] = field(default_factory=dict)

    def answers(self, target: Target) -> np.ndarray:
        """(R,) numbers of the classes that were answered; (R,) of nothing where no class is chosen."""
        scores = self.scores[target.name]
        if target.name in self.chosen or not target.kind.chooses_class:
            return self.chosen.get(target.name, np.full(len(scores), -1))
        return np.asarray(scores.argmax(axis=1))


def _example(scored: Scored, schema: Schema, row: int, door: MediaDoor, media: bool) -> dict[str, Any]:
    """Media and cells of one row as the page shows them."""
    pictures, sounds, cells = [], [], []
    for item in schema.fields:
        cell = scored.table.cells(item.source, np.array([row]))[0]
        if cell is None:
            cells.append((item.name, "(missing)"))
        elif not item.modality.is_media:
            cells.append((item.name, cut_text(str(cell), MAX_CELL)))
        elif media:
            for part in [cell] if item.modality is Modality.VIDEO else media_parts(cell)[:MOST_SHOWN]:
                try:
                    if item.modality is Modality.IMAGE:
                        pictures.append(picture_uri(door.image(part)))
                    elif item.modality is Modality.VIDEO:
                        pictures.append(picture_uri(door.video(part, max_s=VIDEO_S, min_side=MAX_PICTURE).pixels[0]))
                    else:
                        sounds.append(sound_uri(door.audio(part, SOUND_RATE_HZ), SOUND_RATE_HZ))
                except NoSoundError:
                    cells.append((item.name, "(no sound track)"))
                except MediaError as error:
                    cells.append((item.name, f"(unreadable: {error.what})"))
    return {"pictures": tuple(pictures), "sounds": tuple(sounds), "cells": tuple(cells)}


def _worst_rows(target: Target, truth: np.ndarray, scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Places of the worst mistakes: the surest wrong answers, or the largest errors."""
    known = np.flatnonzero(known_rows(target.kind, truth))
    if target.kind is TaskKind.REGRESSION:
        return known[np.argsort(-np.abs(truth[known] - scores[known]), kind="stable")][:MAX_EXAMPLES]
    if target.kind is TaskKind.TAGGING:
        wrong = np.abs(truth[known] - scores[known]).max(axis=1)
        return known[np.argsort(-wrong, kind="stable")][:MAX_EXAMPLES]
    answers = chosen[known]
    if target.kind is TaskKind.ORDINAL:
        distance = np.abs(answers - truth[known])
        order = np.lexsort((-scores[known].max(axis=1), -distance))
        return np.asarray(known[order[distance[order] > 0]][:MAX_EXAMPLES])
    wrong = known[answers != truth[known]]
    return np.asarray(wrong[np.argsort(-scores[wrong, chosen[wrong]], kind="stable")][:MAX_EXAMPLES])


def _answer_words(
    target: Target, truth: Any, scores: Any, chosen: int, interval: np.ndarray | None
) -> tuple[str, str, str]:
    """Answer, truth and confidence in words."""
    if target.kind is TaskKind.REGRESSION:
        sure = f"off by {abs(float(scores) - float(truth)):.3g}"
        if interval is not None and np.isfinite(interval).all():
            sure = f"between {interval[0]:.4g} and {interval[1]:.4g}, {sure}"
        return f"{float(scores):.4g}", f"{float(truth):.4g}", sure
    if target.kind is TaskKind.TAGGING:
        given = [name for name, p in zip(target.classes, scores, strict=True) if p >= 0.5]
        true = [name for name, p in zip(target.classes, truth, strict=True) if p >= 0.5]
        return " | ".join(given) or "(none)", " | ".join(true) or "(none)", ""
    return target.classes[chosen], target.classes[int(truth)], f"{float(scores[chosen]):.0%} sure"


def _examples(scored: Scored, schema: Schema, target: Target, *, media: bool) -> tuple[Example, ...]:
    door = MediaDoor(root=scored.table.root)
    truth, scores = scored.truths[target.name], scored.scores[target.name]
    intervals, chosen = scored.intervals.get(target.name), scored.answers(target)
    found = []
    for place in _worst_rows(target, truth, scores, chosen):
        row = int(scored.rows[place])
        interval = intervals[place] if intervals is not None else None
        answer, true, sure = _answer_words(target, truth[place], scores[place], int(chosen[place]), interval)
        found.append(Example(str(row + 1), answer, true, sure, **_example(scored, schema, row, door, media)))
    return tuple(found)


def _text_examples(scored: Scored, schema: Schema, written: WrittenRows, *, media: bool) -> tuple[Example, ...]:
    """The surest texts that are not the row's own."""
    door = MediaDoor(root=scored.table.root)
    pairs = enumerate(zip(written.references, written.answers, strict=True))
    wrong = [place for place, (references, answer) in pairs if references and answer not in references]
    wrong.sort(key=lambda place: -written.confidences[place])
    found = []
    for place in wrong[:MAX_EXAMPLES]:
        row, sure = int(written.rows[place]), f"{written.confidences[place]:.0%} sure of an id"
        references = " | ".join(written.references[place][:MOST_REFERENCES])
        shown = (cut_text(written.answers[place], MAX_CELL), cut_text(references, MAX_CELL))
        found.append(Example(str(row + 1), *shown, sure, **_example(scored, schema, row, door, media)))
    return tuple(found)


def _confusion(target: Target, truth: np.ndarray, chosen: np.ndarray) -> np.ndarray | None:
    if not target.kind.chooses_class or len(target.classes) > MAX_CONFUSION:
        return None
    known = known_rows(target.kind, truth)
    matrix = np.zeros((len(target.classes), len(target.classes)), np.int64)
    np.add.at(matrix, (truth[known], chosen[known]), 1)
    return matrix


def _class_counts(target: Target, truth: np.ndarray) -> np.ndarray | None:
    """(C,) rows of each class; None where there are no classes to choose from."""
    if not target.kind.chooses_class:
        return None
    return np.bincount(truth[known_rows(target.kind, truth)], minlength=len(target.classes))


def target_page(
    scored: Scored, schema: Schema, target: Target, result: dict[str, Any], *, media: bool, seeds: dict[str, Any]
) -> TargetData:
    """What the page shows of one target."""
    if target.kind.writes:
        examples = _text_examples(scored, schema, scored.texts[target.name], media=media)
        return TargetData(target.name, result, examples=examples, seeds=seeds, leading=leading_metrics(result, None))
    truth, scores = scored.truths[target.name], scored.scores[target.name]
    bins: Sequence[tuple[float, float, int]] = ()
    if target.kind is not TaskKind.REGRESSION:
        bins = reliability_bins(*confidences(target.kind, truth, scores))
    return TargetData(
        target.name,
        result,
        _confusion(target, truth, scored.answers(target)),
        target.classes,
        tuple(bins),
        _examples(scored, schema, target, media=media),
        seeds,
        leading_metrics(result, _class_counts(target, truth)),
    )


def _balancing(
    trainings: Sequence[TrainingResult],
) -> tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]:
    """(target, steps, weights), the mean over members as far as all of them went; nothing where nothing was weighed."""
    shortest = min((item.weights for item in trainings), key=len, default=[])
    steps = tuple(float(step) for step, _ in shortest)
    names = list(shortest[0][1]) if shortest else []
    return tuple(
        (
            name,
            steps,
            tuple(
                float(np.mean([item.weights[place][1][name] for item in trainings])) for place in range(len(shortest))
            ),
        )
        for name in names
    )


def _search_words(search: dict[str, Any]) -> str:
    """What the score of a trial is and what came of them."""
    trials = search["trials"]
    ended = sum(item["score"] is not None for item in trials)
    chosen = ", ".join(f"{name}={value}" for name, value in search["settings"].items())
    return (
        f"{len(trials)} settings were tried with {search['passes']} passes each, on rows that this report does not "
        f"score; {ended} to the end. The score is the share of what is unknown that is explained: 1 is perfect, 0 is "
        f"no better than class shares or the mean. "
        + (f"Chosen: {chosen}." if chosen else "None ended, so the preset stayed as it was.")
    )


def write_fit_report(
    path: Path,
    *,
    schema: Schema,
    scored: Scored,
    results: dict[str, Any],
    trainings: Sequence[TrainingResult],
    findings: Sequence[Finding],
    notes: Sequence[str],
    facts: dict[str, str],
    media: bool,
    seeds: dict[str, dict[str, Any]],
    fusions: dict[str, Any] | None = None,
    search: dict[str, Any] | None = None,
) -> Path:
    """Write report.html of a fit."""
    pages = tuple(
        target_page(scored, schema, target, results[target.name], media=media, seeds=seeds.get(target.name, {}))
        for target in schema.targets
    )
    curves = tuple(
        (f"member {number + 1}", tuple(range(len(item.losses))), tuple(item.losses))
        for number, item in enumerate(trainings)
    )
    data = ReportData(
        title=f"omnifuse: {', '.join(item.name for item in schema.targets)} from {scored.table.name}",
        subtitle=f"{len({item.source for item in schema.fields})} columns read as {len(schema.inputs)} inputs",
        summary=summary_words(
            schema,
            results,
            {
                target.name: None if target.kind.writes else _class_counts(target, scored.truths[target.name])
                for target in schema.targets
            },
        ),
        rows_words=f"Scores are of {scored.words}.",
        targets=pages,
        curves=curves,
        balancing=_balancing(trainings),
        balancing_words="Weight of each target's loss while it was learnt, mean over members.",
        fields=tuple(item.to_json() for item in schema.fields),
        dropped=schema.dropped,
        findings=tuple(item.to_json() for item in findings),
        notes=tuple(notes),
        facts=facts,
        fusions=fusions,
        search={**search, "words": _search_words(search)} if search else {},
    )
    return write_report(data, path)
