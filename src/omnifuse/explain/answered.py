"""What is explained of a row: each answer as one number that adds up, with its name and its unit.

A class is explained by its calibrated log-odds, ln(p / (1 - p)): the same evidence moves them by the same amount
whether the answer was unsure or nearly sure before, which it does not do to a probability. A tag likewise, each for
itself. A number is explained by its value, an ordered level by the expected level, counted from 1.

Shapes: S rows, C classes, K answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import TaskKind

LOG_ODDS, LEVELS, OWN_UNIT = "log-odds", "levels", "the unit of the label"
# A probability nearer to 0 or 1 counts as this near: log-odds of 13.8
_NEAREST = 1e-6


@dataclass(frozen=True)
class Answered:
    """One answer of a row.

    Attributes:
        target: Its target.
        label: Class, tag or number that was answered.
        kind: Of the target.
        number: Of the class or tag among the target's classes; 0 for a number.
        confidence: Calibrated probability of the class or tag; None for a number.
    """

    target: str
    label: str | float
    kind: TaskKind
    number: int = 0
    confidence: float | None = None

    @property
    def unit(self) -> str:
        """What its effects are counted in."""
        if self.kind is TaskKind.REGRESSION:
            return OWN_UNIT
        return LEVELS if self.kind is TaskKind.ORDINAL else LOG_ODDS

    def measure(self, scores: np.ndarray) -> np.ndarray:
        """(S,) the explained number of rows with these calibrated scores, (S, C) or, for a number, (S,)."""
        if self.kind is TaskKind.REGRESSION:
            return np.asarray(scores, np.float64)
        if self.kind is TaskKind.ORDINAL:
            return np.asarray(scores @ np.arange(1.0, scores.shape[1] + 1))
        return log_odds(scores[:, self.number])


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """ln(p / (1 - p)), of probabilities brought into [1e-6, 1 - 1e-6].

    Example:
        >>> log_odds(np.array([0.5, 1.0])).round(3).tolist()
        [0.0, 13.816]
    """
    kept = np.clip(np.asarray(probabilities, np.float64), _NEAREST, 1 - _NEAREST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def answers_of(readout: TargetReadout, raw: RawOutputs) -> list[Answered]:
    """What is answered to a row: one answer, or each tag that is answered (the likeliest one where none is).

    Args:
        readout: Of the target.
        raw: Outputs of that row alone.
    """
    target, scores = readout.target, readout.scores(raw)
    if target.kind is TaskKind.REGRESSION:
        return [Answered(target.name, float(scores[0]), target.kind)]
    if target.kind is TaskKind.TAGGING:
        chosen = np.flatnonzero(scores[0] >= 0.5)
        numbers = chosen.tolist() if len(chosen) else [int(scores[0].argmax())]
    else:
        numbers = [int(readout.choose(scores)[0])]
    return [
        Answered(target.name, target.classes[number], target.kind, number, float(scores[0, number]))
        for number in numbers
    ]


def measured(answers: Sequence[Answered], readouts: Mapping[str, TargetReadout], raw: RawOutputs) -> np.ndarray:
    """(S, K) the explained numbers of S rows; a row without any field has that of the prior answer."""
    scores = {name: readouts[name].scores(raw) for name in dict.fromkeys(item.target for item in answers)}
    return np.stack([item.measure(scores[item.target]) for item in answers], axis=1)
