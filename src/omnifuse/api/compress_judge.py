"""Whether graphs that were made smaller still answer as well: agreement with the exported ones, and the score.

Shapes: B rows, E members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from omnifuse.deploy.parity import Subset
from omnifuse.evaluation.intervals import paired_test, with_intervals
from omnifuse.evaluation.metrics import MAIN_METRIC, known_rows, score
from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import TaskKind

# Share of answers that are to be the same
LEAST_AGREEMENT = 0.99
# Numbers agree that differ by less than this share of the labels' standard deviation
SAME_NUMBER = 0.05
Answers = Mapping[Subset, RawOutputs]


@dataclass(frozen=True)
class TargetScore:
    """The score of one target.

    Attributes:
        metric: Its name.
        value: The score, None where it is not defined.
        low: End of its 95% interval.
        high: The other end.
        loss: What it lost, as a share of the exported model's; negative where it is better.
        unsure: Whether the rows cannot tell the loss from none: the paired 95% interval holds 0.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    loss: float
    unsure: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in ("metric", "value", "low", "high", "loss", "unsure")}


@dataclass(frozen=True)
class Judgement:
    """How graphs answer.

    Attributes:
        agreement: Share of the answers, of whole rows and of rows without each single field, that are the same.
        whole: That share of the rows as they are.
        scores: Target to its score on the rows as they are; empty without labels.
    """

    agreement: float
    whole: float
    scores: Mapping[str, TargetScore] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """The largest loss of a target; None without labels."""
        return max((item.loss for item in self.scores.values()), default=None)

    def harm(self, most_loss: float, limits: Mapping[str, float] | None = None) -> str:
        """Why the graphs may not stay, "" where they may.

        Without labels the answers have to agree. With labels the score may fall by `most_loss`; or by more where the
        rows cannot tell the fall from none and the answers agree.

        Args:
            most_loss: Share of the score.
            limits: Metric to such a share where it is another one.
        """
        if not self.scores:
            few = f"{self.agreement:.1%} of the answers agree, below {LEAST_AGREEMENT:.0%}"
            return "" if self.agreement >= LEAST_AGREEMENT else few
        for name, item in self.scores.items():
            most = (limits or {}).get(item.metric, most_loss)
            if item.loss > most and not (item.unsure and self.agreement >= LEAST_AGREEMENT):
                return f"{item.metric} of '{name}' falls by {item.loss:.2%}, more than {most:.2%}"
        return ""


@dataclass(frozen=True)
class TargetAnswers:
    """Calibrated answers of one target: as `TargetReadout.scores` gives them, and of classes the chosen ones (B,)."""

    scores: np.ndarray
    chosen: np.ndarray | None

    @classmethod
    def of(cls, readout: TargetReadout, raw: RawOutputs) -> TargetAnswers:
        """From raw outputs."""
        scores = readout.scores(raw)
        return cls(scores, readout.choose(scores) if readout.target.kind is TaskKind.CLASSIFICATION else None)


class Judge:
    """Compares with the graphs as exported.

    Args:
        readouts: Target to its readout.
        fields: Of the model in order.
        reference: What its graphs answer as exported.
        truths: Target to the rows' encoded labels; those without any known label are not scored.
        wanted: For each subset target to the answers that are compared with, where they are another model's.
    """

    def __init__(
        self,
        readouts: Mapping[str, TargetReadout],
        fields: Subset,
        reference: Answers,
        truths: Mapping[str, np.ndarray],
        *,
        wanted: Mapping[Subset, Mapping[str, TargetAnswers]] | None = None,
    ) -> None:
        self.readouts, self.fields, self.reference = readouts, fields, reference
        self.truths = {
            name: truth for name, truth in truths.items() if known_rows(readouts[name].target.kind, truth).any()
        }

        self.wanted = wanted or {
            subset: {name: TargetAnswers.of(readout, raw) for name, readout in readouts.items()}
            for subset, raw in reference.items()
        }

    def of_student(self, readouts: Mapping[str, TargetReadout], fields: Subset, reference: Answers) -> Judge:
        """The judge of a student's graphs, by the same answers and labels.

        What it answers without a field is held against what its teacher answers without that field; whole rows against
        whole rows, also where it does not read all fields of its teacher.

        Args:
            readouts: Target to the student's readout.
            fields: That it reads.
            reference: What its graphs answer as exported.
        """
        wanted = {}
        for subset in reference:
            hidden = set(fields) - set(subset)
            wanted[subset] = self.wanted[tuple(name for name in self.fields if name not in hidden)]
        return Judge(readouts, fields, reference, self.truths, wanted=wanted)

    @property
    def metrics(self) -> list[str]:
        """Those that are compared."""
        return sorted({MAIN_METRIC[self.readouts[name].target.kind] for name in self.truths})

    def __call__(self, answers: Answers) -> Judgement:
        """Judge the answers of other graphs to the same rows."""
        shares = {
            subset: min(
                _agreement(readout, self.wanted[subset][name], TargetAnswers.of(readout, answers[subset]))
                for name, readout in self.readouts.items()
            )
            for subset in self.reference
        }
        scores = {name: self._score(name, answers[self.fields]) for name in self.truths}
        return Judgement(float(np.mean(list(shares.values()))), shares[self.fields], scores)

    def _score(self, name: str, raw: RawOutputs) -> TargetScore:
        readout, truth = self.readouts[name], self.truths[name]
        target, metric = readout.target, MAIN_METRIC[readout.target.kind]
        wanted, answers = self.wanted[self.fields][name], TargetAnswers.of(readout, raw)
        before, after = wanted.scores, answers.scores
        found = with_intervals(target.kind, truth, after, target.classes, chosen=answers.chosen)[metric]
        was = score(target.kind, truth, before, target.classes, chosen=wanted.chosen)[metric]
        value = found["value"]
        loss = 0.0 if value is None or was is None else (was - value) / (was if was > 0 else 1.0)
        if wanted.chosen is not None and answers.chosen is not None:
            # What is answered counts, which is not always the most probable class
            before, after = (np.eye(len(target.classes))[one] for one in (wanted.chosen, answers.chosen))
        test = paired_test(target.kind, truth, before, after)
        unsure = test["low"] is not None and test["high"] is not None and test["low"] <= 0.0 <= test["high"]
        return TargetScore(metric, value, found["low"], found["high"], loss, unsure)


def _agreement(readout: TargetReadout, wanted: TargetAnswers, found: TargetAnswers) -> float:
    """Share of rows with the same class (tags: the same set; numbers: about the same)."""
    first, second, kind = wanted.scores, found.scores, readout.target.kind
    if kind is TaskKind.REGRESSION:
        same = np.abs(first - second) <= SAME_NUMBER * readout.scale
    elif kind is TaskKind.TAGGING:
        same = ((first >= 0.5) == (second >= 0.5)).all(axis=1)
    elif kind is TaskKind.CLASSIFICATION:
        same = np.asarray(wanted.chosen == found.chosen)
    else:
        same = first.argmax(axis=1) == second.argmax(axis=1)
    return float(same.mean()) if len(same) else 1.0


def member_order(readouts: Mapping[str, TargetReadout], reference: Answers) -> list[int]:
    """Members in the order in which a part of them comes closest to all of them, the best single one first.

    Each next one is that with which the mean answer lies closest to the ensemble's, over rows as they are and without
    each field. Labels are not looked at: choosing by them would favour what happens to suit these rows.
    """
    first = next(iter(reference.values()))
    left = list(range(len(next(iter(first.fused.values())))))
    wanted = {(s, t): readout.scores(raw) for s, raw in reference.items() for t, readout in readouts.items()}
    # A row's answer is the mean over members
    alone = {
        member: {
            (s, t): readout.scores(raw.members([member]))
            for s, raw in reference.items()
            for t, readout in readouts.items()
        }
        for member in left
    }
    order: list[int] = []

    def distance(member: int) -> float:
        total = 0.0
        for key, answers in wanted.items():
            mean = np.mean([alone[one][key] for one in [*order, member]], axis=0)
            total += float(np.mean(((mean - answers) / readouts[key[1]].scale) ** 2))
        return total

    while left:
        best = min(left, key=lambda member: (distance(member), member))
        order.append(best)
        left.remove(best)
    return order
