"""Words with their times and how sure they are: what transcripts, subtitles and merged windows are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omnifuse.data.bpe import NUM_SPECIAL, REPLACEMENT, SPACE, UNKNOWN_ID


@dataclass(frozen=True)
class Word:
    """One spoken word.

    Attributes:
        text: Without blanks.
        start_s: Seconds from the start of the sound.
        end_s: The same, not before `start_s`.
        confidence: 0 to 1.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float = 1.0

    def shifted(self, offset_s: float) -> Word:
        """The same word in a sound that starts earlier."""
        return replace(self, start_s=self.start_s + offset_s, end_s=self.end_s + offset_s)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, times to the millisecond."""
        return {
            "word": self.text,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "confidence": round(self.confidence, 4),
        }


@dataclass(frozen=True)
class Span:
    """The frames of one token: from `first` to `last`, both included, and the logarithm of its best probability."""

    first: int
    last: int
    log: float


def text_of(words: Iterable[Word]) -> str:
    """The words with single blanks between them."""
    return " ".join(word.text for word in words)


def confidence_of(words: Sequence[Word]) -> float | None:
    """Geometric mean of the words' confidences; None without words."""
    if not words:
        return None
    return math.exp(sum(math.log(max(word.confidence, 1e-12)) for word in words) / len(words))


def piece_text(pieces: Sequence[str], token: int) -> str:
    """The characters that a token adds to a text; a word starts where they start with `SPACE`."""
    if token == UNKNOWN_ID:
        return REPLACEMENT
    return pieces[token] if NUM_SPECIAL <= token < len(pieces) else ""


def words_of(
    tokens: Sequence[int], spans: Sequence[Span], pieces: Sequence[str], *, frame_s: float, offset_s: float = 0.0
) -> tuple[Word, ...]:
    """Tokens to words.

    Args:
        tokens: Ids.
        spans: Of each token its frames.
        pieces: Text of each id; a word starts where one starts with `SPACE`.
        frame_s: Seconds from one frame to the next.
        offset_s: Time of the first frame.

    Returns:
        The words; the confidence is the geometric mean of the tokens' best probabilities.
    """
    groups: list[tuple[list[str], list[Span]]] = []
    opened = False
    for token, span in zip(tokens, spans, strict=True):
        text = piece_text(pieces, token)
        if text.startswith(SPACE):
            opened, text = False, text[len(SPACE) :]
        if not text:
            continue
        if not opened:
            groups.append(([], []))
            opened = True
        groups[-1][0].append(text)
        groups[-1][1].append(span)
    return tuple(
        Word(
            "".join(texts),
            offset_s + own[0].first * frame_s,
            offset_s + (own[-1].last + 1) * frame_s,
            min(1.0, math.exp(sum(span.log for span in own) / len(own))),
        )
        for texts, own in groups
    )
