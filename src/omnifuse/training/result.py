"""How a training went: what it measured step by step, and what went wrong on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# So many rows are named on one line; the curves and the checkpoint hold all of them
ROWS_NAMED = 8


class BadStep(NamedTuple):
    """A step that was left out: which of "loss" and "gradient" was not finite, and the rows of its batch."""

    step: int
    what: str
    rows: list[int]

    @property
    def words(self) -> str:
        """What happened.

        Example:
            >>> BadStep(7, "loss", [3, 1]).words
            'step 7 is left out, its loss is not finite'
        """
        return f"step {self.step} is left out, its {self.what} is not finite"


@dataclass
class TrainingResult:
    """How a training went.

    Attributes:
        losses: Loss of each step.
        scores: (step, score) on the stopping rows, higher is better.
        steps: Steps planned.
        epochs: Passes over the rows, a fraction where the plan ends within one.
        seconds: Wall time of this run.
        samples_per_s: Rows a second, loader and all.
        wait_share: Share of the time spent waiting for data.
        bad_steps: Steps that were left out since loss or gradient was not finite, with the rows of their batches.
        spikes: (step, loss, usual loss) where a loss was 100 times the usual one or more.
        unsaved: (step, reason) of checkpoints that could not be written.
        precision: "fp32" or "bf16".
        rows_at_once: Most rows that the memory of the device took at once; None where it took whole batches.
        weights: (step, target to the weight of its loss), where losses are balanced.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    samples_per_s: float = 0.0
    wait_share: float = 0.0
    bad_steps: list[BadStep] = field(default_factory=list)
    spikes: list[tuple[int, float, float]] = field(default_factory=list)
    unsaved: list[tuple[int, str]] = field(default_factory=list)
    precision: str = "fp32"
    rows_at_once: int | None = None
    weights: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Plain JSON values for checkpoints: what a resumed training goes on from."""
        return {
            "losses": self.losses,
            "scores": self.scores,
            "left_out": self.bad_steps,
            "spikes": self.spikes,
            "unsaved": self.unsaved,
            "precision": self.precision,
            "rows_at_once": self.rows_at_once,
            "weights": self.weights,
        }

    def recall(self, facts: Mapping[str, Any]) -> None:
        """Inverse of `facts`."""
        self.losses = [float(value) for value in facts["losses"]]
        self.scores = [(int(step), float(score)) for step, score in facts["scores"]]
        self.bad_steps = [BadStep(int(step), str(what), list(rows)) for step, what, rows in facts.get("left_out", ())]
        self.spikes = [(int(step), float(loss), float(usual)) for step, loss, usual in facts.get("spikes", ())]
        self.unsaved = [(int(step), str(reason)) for step, reason in facts.get("unsaved", ())]
        self.precision = str(facts["precision"])
        self.rows_at_once = facts.get("rows_at_once")
        self.weights = [(int(step), dict(weights)) for step, weights in facts["weights"]]


def spike_words(step: int, loss: float, usual: float) -> str:
    """A spike of the loss in words.

    Example:
        >>> spike_words(7, 250.0, 0.5)
        'the loss at step 7 was 250, 500 times the usual 0.5'
    """
    return f"the loss at step {step} was {loss:.3g}, {loss / max(usual, 1e-12):.3g} times the usual {usual:.3g}"


def parts_words(rows: int) -> str:
    """How batches are taken that the memory of the device does not hold.

    Example:
        >>> parts_words(4)
        'so batches are taken in parts of at most 4 rows, with the same mean loss'
    """
    return f"so batches are taken in parts of at most {rows} rows, with the same mean loss"


def rows_words(rows: Sequence[int]) -> str:
    """The first rows of a batch.

    Example:
        >>> rows_words(range(10)), rows_words([4, 2])
        ('rows 0, 1, 2, 3, 4, 5, 6, 7 and 2 more', 'rows 4, 2')
    """
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"rows {', '.join(str(row) for row in rows[:ROWS_NAMED])}{more}"
