"""What was heard in one sound: words with times and confidences, and other possible texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omnifuse.readout.words import Word, confidence_of, text_of
from omnifuse.schema import Hypothesis

# Below it a transcript is marked as doubtful
DOUBTFUL = 0.5


@dataclass(frozen=True)
class Transcript:
    """The transcript of one sound.

    Attributes:
        row_id: Of the row.
        words: In order, with times; none where nothing is said.
        duration_s: Of the sound.
        hypotheses: Other possible texts, the best one first; of a sound that was read in windows there is one alone.
        warnings: What was left out, and that the transcript is doubtful.
        modalities_used: Fields that were read.
        error: Why there is no transcript.
        model_id: Of the model.
    """

    row_id: str | int
    words: tuple[Word, ...]
    duration_s: float
    hypotheses: tuple[Hypothesis, ...] = ()
    warnings: tuple[str, ...] = ()
    modalities_used: tuple[str, ...] = ()
    error: str | None = None
    model_id: str = ""

    @property
    def text(self) -> str:
        """The words with single blanks between them."""
        return text_of(self.words)

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the words' confidences; None without words."""
        return confidence_of(self.words)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "text": self.text,
            "confidence": self.confidence,
            "duration_s": round(self.duration_s, 3),
            "words": [word.to_json() for word in self.words],
            "hypotheses": [item.to_json() for item in self.hypotheses],
            "modalities_used": list(self.modalities_used),
            "warnings": list(self.warnings),
            "error": self.error,
        }


def doubt(confidence: float | None) -> list[str]:
    """A sentence where words are less sure than `DOUBTFUL`: noise, or another language than was learnt from."""
    if confidence is None or confidence >= DOUBTFUL:
        return []
    return [
        f"doubtful: words are {confidence:.0%} sure; the sound may be unlike those learnt from, or of another language"
    ]
