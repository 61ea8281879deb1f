"""Calibrated scores to `Prediction`s: class names, confidence, abstention, and errors for rows with nothing to read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import Hypothesis, Prediction, TargetPrediction, TaskKind

NOTHING_READABLE = "no field of this row can be read"


def answer_of(
    readout: TargetReadout, scores: np.ndarray, *, proba: bool, interval: np.ndarray | None = None
) -> TargetPrediction:
    """The answer for one row.

    Args:
        readout: Of the target.
        scores: (C,) probabilities, or one value for regression.
        proba: Whether to give every class's probability.
        interval: (2,) of a number, NaN where unknown.
    """
    target = readout.target
    if target.kind is TaskKind.REGRESSION:
        if interval is None or not np.isfinite(interval).all():
            return TargetPrediction(float(scores))
        return TargetPrediction(float(scores), low=float(interval[0]), high=float(interval[1]))
    listed = {name: float(p) for name, p in zip(target.classes, scores, strict=True)} if proba else None
    if target.kind is TaskKind.TAGGING:
        tags = [name for name, p in zip(target.classes, scores, strict=True) if p >= 0.5]
        sure = float(np.maximum(scores, 1 - scores).mean())
        return TargetPrediction(tags, sure, listed, sure < readout.threshold)
    best = int(readout.choose(scores[None])[0])
    return TargetPrediction(target.classes[best], float(scores[best]), listed, float(scores[best]) < readout.threshold)


def text_answer(texts: tuple[Hypothesis, ...]) -> TargetPrediction:
    """The answer of a target that is written: its best text, and how likely each id of it was on average."""
    if not texts:
        return TargetPrediction(None, abstained=True)
    return TargetPrediction(texts[0].text, math.exp(min(texts[0].mean, 0.0)), hypotheses=texts)


def make_predictions(
    raw: RawOutputs,
    readouts: Mapping[str, TargetReadout],
    *,
    row_ids: Sequence[str | int],
    warnings: Sequence[Sequence[str]],
    model_id: str,
    proba: bool = False,
    ids: Sequence[dict[str, Any]] | None = None,
    written: Mapping[str, Sequence[tuple[Hypothesis, ...]]] | None = None,
) -> list[Prediction]:
    """Answers of B rows.

    Args:
        raw: Outputs of the network.
        readouts: Target name to calibration.
        row_ids: B ids.
        warnings: B lists of what could not be read.
        model_id: Of the artefact.
        proba: Whether to give every class's probability.
        ids: B dictionaries of id columns.
        written: Target that is written to B tuples of texts, best first.

    Returns:
        One answer a row, in order; a row without any readable field has `error` set and no value.
    """
    scores = {name: readout.scores(raw) for name, readout in readouts.items()}
    intervals = {
        name: readout.intervals(raw) for name, readout in readouts.items() if readout.target.kind is TaskKind.REGRESSION
    }
    answers = []
    for row, row_id in enumerate(row_ids):
        used = tuple(name for name, there in raw.present.items() if there[row])
        targets = {
            name: answer_of(
                readout, scores[name][row], proba=proba, interval=intervals[name][row] if name in intervals else None
            )
            if used
            else TargetPrediction(None, abstained=True)
            for name, readout in readouts.items()
        }
        for name, texts in (written or {}).items():
            targets[name] = text_answer(texts[row] if used else ())
        error = None if used else NOTHING_READABLE
        known = ids[row] if ids is not None else {}
        answers.append(Prediction(row_id, targets, used, tuple(warnings[row]), None, model_id, error, known))
    return answers
