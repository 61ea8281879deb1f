"""From what a fit found to the page that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.media import MediaDoor
from omnifuse.data.tables import Table
from omnifuse.errors import MediaError
from omnifuse.evaluation import confidences, known_rows, reliability_bins
from omnifuse.report import Example, ReportData, write_report
from omnifuse.report.media import picture_uri, sound_uri
from omnifuse.report.page import TargetData, main_metric
from omnifuse.schema import Finding, Modality, Schema, Target, TaskKind
from omnifuse.training.loop import TrainingResult

MAX_EXAMPLES = 9
MAX_CONFUSION = 40
SOUND_RATE_HZ = 16_000


@dataclass(frozen=True)
class Scored:
    """Rows that the report speaks of.

    Attributes:
        table: Where they stand.
        rows: Their numbers in the table.
        truths: Target to labels of these rows.
        scores: Target to complete scores of these rows.
        words: Which rows they are.
    """

    table: Table
    rows: np.ndarray
    truths: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    words: str


def _example(scored: Scored, schema: Schema, row: int, door: MediaDoor, media: bool) -> dict[str, Any]:
    """Media and cells of one row as the page shows them."""
    pictures, sounds, cells = [], [], []
    for item in schema.fields:
        cell = scored.table.cells(item.name, np.array([row]))[0]
        if cell is None:
            cells.append((item.name, "(missing)"))
        elif not item.modality.is_media:
            cells.append((item.name, str(cell)[:300]))
        elif media:
            try:
                if item.modality is Modality.IMAGE:
                    pictures.append(picture_uri(door.image(cell)))
                else:
                    sounds.append(sound_uri(door.audio(cell, SOUND_RATE_HZ), SOUND_RATE_HZ))
            except MediaError as error:
                cells.append((item.name, f"(unreadable: {error.what})"))
    return {"pictures": tuple(pictures), "sounds": tuple(sounds), "cells": tuple(cells)}


def _worst_rows(target: Target, truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Places of the worst mistakes: the surest wrong answers, or the largest errors."""
    known = np.flatnonzero(known_rows(target.kind, truth))
    if target.kind is TaskKind.REGRESSION:
        return known[np.argsort(-np.abs(truth[known] - scores[known]), kind="stable")][:MAX_EXAMPLES]
    if target.kind is TaskKind.TAGGING:
        wrong = np.abs(truth[known] - scores[known]).max(axis=1)
        return known[np.argsort(-wrong, kind="stable")][:MAX_EXAMPLES]
    answers = scores[known].argmax(axis=1)
    wrong = known[answers != truth[known]]
    return np.asarray(wrong[np.argsort(-scores[wrong].max(axis=1), kind="stable")][:MAX_EXAMPLES])


def _answer_words(target: Target, truth: Any, scores: Any) -> tuple[str, str, str]:
    """Answer, truth and confidence in words."""
    if target.kind is TaskKind.REGRESSION:
        return f"{float(scores):.4g}", f"{float(truth):.4g}", f"off by {abs(float(scores) - float(truth)):.3g}"
    if target.kind is TaskKind.TAGGING:
        given = [name for name, p in zip(target.classes, scores, strict=True) if p >= 0.5]
        true = [name for name, p in zip(target.classes, truth, strict=True) if p >= 0.5]
        return " | ".join(given) or "(none)", " | ".join(true) or "(none)", ""
    best = int(np.argmax(scores))
    return target.classes[best], target.classes[int(truth)], f"{float(scores[best]):.0%} sure"


def _examples(scored: Scored, schema: Schema, target: Target, *, media: bool) -> tuple[Example, ...]:
    door = MediaDoor(root=scored.table.root)
    truth, scores = scored.truths[target.name], scored.scores[target.name]
    found = []
    for place in _worst_rows(target, truth, scores):
        row = int(scored.rows[place])
        answer, true, sure = _answer_words(target, truth[place], scores[place])
        found.append(Example(str(row + 1), answer, true, sure, **_example(scored, schema, row, door, media)))
    return tuple(found)


def _confusion(target: Target, truth: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    if target.kind is not TaskKind.CLASSIFICATION or len(target.classes) > MAX_CONFUSION:
        return None
    known = known_rows(target.kind, truth)
    matrix = np.zeros((len(target.classes), len(target.classes)), np.int64)
    np.add.at(matrix, (truth[known], scores[known].argmax(axis=1)), 1)
    return matrix


def target_page(
    scored: Scored, schema: Schema, target: Target, result: dict[str, Any], *, media: bool, seeds: dict[str, Any]
) -> TargetData:
    """What the page shows of one target."""
    truth, scores = scored.truths[target.name], scored.scores[target.name]
    bins: Sequence[tuple[float, float, int]] = ()
    if target.kind is not TaskKind.REGRESSION:
        bins = reliability_bins(*confidences(target.kind, truth, scores))
    return TargetData(
        target.name,
        result,
        _confusion(target, truth, scores),
        target.classes,
        tuple(bins),
        _examples(scored, schema, target, media=media),
        seeds,
    )


def _percent(metric: str, value: float) -> str:
    return f"{value:.1%}" if metric in ("accuracy", "balanced_accuracy", "f1_micro") else f"{value:.3f}"


def summary_words(schema: Schema, results: dict[str, Any], scored: Scored) -> tuple[str, ...]:
    """The page's first paragraph: what was learnt, how good it is, whether fusing helped, how far it can be trusted."""
    inputs = [f"{item.name} ({item.modality.value})" for item in schema.inputs]
    sentences = [f"The model reads {', '.join(inputs)} and answers {', '.join(item.name for item in schema.targets)}."]
    for target in schema.targets:
        result = results[target.name]
        metric = main_metric(result["task"], result["metrics"])
        value = result["metrics"][metric]
        if value["value"] is None:
            continue
        span = ""
        if value["low"] is not None:
            span = f" (95% interval {_percent(metric, value['low'])} to {_percent(metric, value['high'])})"
        sentences.append(
            f"On rows it had not learnt from, {metric.replace('_', ' ')} for {target.name} is "
            f"{_percent(metric, value['value'])}{span}{_against_majority(metric, result)}."
        )
        sentences += _fusion_words(metric, result)
        ece = (result.get("calibration") or {}).get("ece")
        if ece is not None:
            sentences.append(f"Its confidence is off by {ece:.1%} on average: {_trust(ece)}.")
    return tuple(sentences)


def _against_majority(metric: str, result: dict[str, Any]) -> str:
    prior = result["baselines"].get("majority", {}).get(metric, {})
    if prior.get("value") is None:
        return ""
    return f"; always giving the most frequent answer reaches {_percent(metric, prior['value'])}"


def _trust(ece: float) -> str:
    if ece <= 0.03:
        return "when it says 90%, it is right about 9 times in 10"
    return "take it as a rough guide" if ece <= 0.08 else "do not rely on it with so few rows"


def _fusion_words(metric: str, result: dict[str, Any]) -> list[str]:
    fusion = result.get("fusion")
    words = []
    if fusion:
        best = result["baselines"].get(fusion["against"], {}).get(fusion["metric"], {}).get("value")
        held = f"the best single field, {fusion['against']}" + (
            f" ({_percent(metric, best)})" if best is not None else ""
        )
        said = {
            "helped": f"Fusing helped: the model is better than a network that reads {held} alone.",
            "did not help": f"Fusing did not help: a network that reads {held} alone is as good. Consider it.",
        }
        unsure = f"Whether fusing helped cannot be told on {fusion['rows']} rows; the comparison is with {held}."
        words.append(said.get(fusion["verdict"], unsure))
    simple = {
        name: scores[metric]["value"]
        for name, scores in result["baselines"].items()
        if (":" in name or name == "majority") and scores.get(metric, {}).get("value") is not None
    }
    if simple:
        name = max(simple, key=lambda key: simple[key])
        own = result["metrics"][metric]["value"]
        if simple[name] > own:
            words.append(
                f"Beware: the simple model '{name}' reaches {_percent(metric, simple[name])}, more than this model."
            )
    return words


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
        subtitle=f"{len(schema.fields)} columns read as {len(schema.inputs)} inputs",
        summary=summary_words(schema, results, scored),
        rows_words=f"Scores are of {scored.words}.",
        targets=pages,
        curves=curves,
        fields=tuple(item.to_json() for item in schema.fields),
        dropped=schema.dropped,
        findings=tuple(item.to_json() for item in findings),
        notes=tuple(notes),
        facts=facts,
    )
    return write_report(data, path)
