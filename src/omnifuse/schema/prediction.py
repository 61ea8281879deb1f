"""The one answer that command line, server, runtime and applications all speak."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hypothesis:
    """A text that may be the answer.

    Attributes:
        text: What was written.
        score: What the texts of a row are ordered by: log-probability over length to a power.
        log_probability: Natural logarithm of its probability.
        ended: Whether it came to its end, and was not cut at the longest length.
        length: Number of its ids, the end included.
    """

    text: str
    score: float
    log_probability: float
    ended: bool = True
    length: int = 1

    @property
    def mean(self) -> float:
        """Mean log-probability of an id."""
        return self.log_probability / max(self.length, 1)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "text": self.text,
            "score": self.score,
            "log_probability": self.log_probability,
            "ended": self.ended,
        }


@dataclass(frozen=True)
class TargetPrediction:
    """The answer for one target.

    Attributes:
        value: Class text, list of tags, number or text that was written; None where nothing could be answered.
        confidence: Calibrated, 0 to 1; None for regression. Of a written text not calibrated: the geometric mean of
            its ids' probabilities.
        probabilities: Class text to calibrated probability (classification, tagging).
        abstained: True where the confidence is below the abstention threshold.
        low: Of a number, where its interval begins; None where nothing told how wide to make it.
        high: Of a number, where its interval ends.
        hypotheses: Of a written text, the best ones, best first; `value` is the first.
    """

    value: Any
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    abstained: bool = False
    low: float | None = None
    high: float | None = None
    hypotheses: tuple[Hypothesis, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """The answer for one row; `error` is set only for a row with nothing readable or a broken record."""

    row_id: str | int
    targets: dict[str, TargetPrediction]
    modalities_used: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    explanation: dict[str, Any] | None = None
    model_id: str = ""
    error: str | None = None
    ids: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as the server and `--json` print them."""
        targets: dict[str, Any] = {}
        for name, answer in self.targets.items():
            targets[name] = {"value": answer.value, "confidence": answer.confidence, "abstained": answer.abstained}
            if answer.low is not None:
                targets[name] |= {"low": answer.low, "high": answer.high}
            if answer.hypotheses:
                targets[name]["hypotheses"] = [item.to_json() for item in answer.hypotheses]
            if answer.probabilities is not None:
                targets[name]["probabilities"] = answer.probabilities
        data: dict[str, Any] = {
            "row_id": self.row_id,
            "targets": targets,
            "modalities_used": list(self.modalities_used),
            "warnings": list(self.warnings),
            "model_id": self.model_id,
        }
        if self.explanation is not None:
            data["explanation"] = self.explanation
        if self.error is not None:
            data["error"] = self.error
        return data
