"""How speech is searched for its transcript: a language model of the transcripts, phrases, and how much each counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from omnifuse.data.bpe import END_ID, START_ID, UNKNOWN_ID, TargetTokenizer
from omnifuse.errors import InputError
from omnifuse.readout.ctc import CtcBeamSearch
from omnifuse.readout.ngram import NgramModel
from omnifuse.readout.phrases import PhraseScorer
from omnifuse.readout.scorers import Scorer, SumScorer, TokenScorer, WordScorer

WORDS, PIECES = "words", "pieces"
WORD_ORDER, PIECE_ORDER = 3, 5
# Longer words on average are no words: Chinese and Thai are written without spaces
_LONGEST_WORDS = 20.0
MOST_PHRASES = 10_000


@dataclass(frozen=True)
class SpeechOptions:
    """How transcripts are searched.

    Attributes:
        beams: Prefixes that are kept at each frame.
        num: Transcripts a sound, best first; at most `beams`.
        lm_weight: Of the language model's natural logarithms; 0 leaves it out.
        attention: Weight of the decoder, which reads the whole text once with every field, 0 to 1: the rest is CTC's
            and the language model's.
        phrases: Texts to listen for, such as rare names.
        boost: Added for each character of a phrase.

    References: Zhang et al. 2020 (U2), section 3.3 (attention rescoring).
    """

    beams: int = 16
    num: int = 1
    lm_weight: float = 0.5
    attention: float = 0.3
    phrases: tuple[str, ...] = ()
    boost: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        limits = {
            "beams": (1, 1024),
            "num": (1, self.beams),
            "lm_weight": (0.0, 10.0),
            "attention": (0.0, 1.0),
            "boost": (0.0, 20.0),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}", fix=f"Give {low:g} to {high:g}")
        if len(self.phrases) > MOST_PHRASES:
            raise InputError(f"{len(self.phrases):,} phrases to listen for", fix=f"Give at most {MOST_PHRASES:,}")


@dataclass(frozen=True)
class SpeechLanguage:
    """What the transcripts of training rows say of those to come.

    Attributes:
        model: Of words, or of pieces where words are not told by spaces.
        units: "words" or "pieces".
        longest_s: Of the sounds that were learnt from; longer ones are read in windows of about this length.
    """

    model: NgramModel
    units: str
    longest_s: float

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.units not in (WORDS, PIECES) or not 0 < self.longest_s < 1e6:
            raise ValueError(f"a language model of {self.units} and sounds of {self.longest_s} s")

    @classmethod
    def fit(cls, cells: Iterable[Any], text: TargetTokenizer, *, longest_s: float) -> SpeechLanguage | None:
        """Learn from transcripts.

        Args:
            cells: Transcripts, None where missing.
            text: The vocabulary, which normalises them.
            longest_s: See the class.

        Returns:
            None without a transcript.
        """
        said = [text.normalise(cell) for cell in cells if cell is not None]
        words = [line.split() for line in said]
        count = sum(map(len, words))
        if not count:
            return None
        if sum(len(word) for line in words for word in line) <= _LONGEST_WORDS * count:
            return cls(NgramModel.fit(words, order=WORD_ORDER), WORDS, longest_s)
        # A piece that is a blank has no place in the file of the model
        pieces = [[text.pieces[one] for one in text.encode(line) if text.pieces[one].split()] for line in said]
        return cls(NgramModel.fit(pieces, order=PIECE_ORDER), PIECES, longest_s)


def known_phrases(phrases: Iterable[str], text: TargetTokenizer) -> tuple[tuple[str, ...], list[str]]:
    """Phrases as transcripts are written, and sentences on those that cannot be.

    Args:
        phrases: Texts; empty ones are passed over.
        text: The vocabulary.
    """
    found: dict[str, None] = {}
    notes = []
    for phrase in phrases:
        written = " ".join(text.normalise(phrase).split())
        if not written:
            continue
        if UNKNOWN_ID in text.encode(written):
            notes.append(
                f"the phrase '{phrase.strip()[:60]}' holds characters that no transcript held: not listened for"
            )
        else:
            found.setdefault(written)
    return tuple(found), notes


def ctc_search(text: TargetTokenizer, language: SpeechLanguage | None, options: SpeechOptions) -> CtcBeamSearch:
    """The beam search over CTC's frames.

    Args:
        text: The vocabulary.
        language: What is known of transcripts; None for nothing.
        options: Weights and phrases; the phrases as `known_phrases` gives them.
    """
    parts: list[Scorer] = []
    if language is not None and options.lm_weight > 0:
        kind = WordScorer if language.units == WORDS else TokenScorer
        parts.append(kind(language.model, text.pieces, weight=options.lm_weight))
    if options.phrases and options.boost > 0:
        parts.append(PhraseScorer(options.phrases, text.pieces, boost=options.boost))
    scorer = None if not parts else parts[0] if len(parts) == 1 else SumScorer(parts)
    return CtcBeamSearch(text.pieces, scorer, beam_width=options.beams, banned=(UNKNOWN_ID, START_ID, END_ID))


def mixed_score(ctc: float, attention: float | None, weight: float) -> float:
    """What transcripts of a sound are ordered by.

    Args:
        ctc: Score of the beam search.
        attention: Logarithm of the decoder's probability of the text; None where it was not asked.
        weight: Of the decoder, 0 to 1.
    """
    return ctc if attention is None else (1 - weight) * ctc + weight * attention


def read_phrases(lines: Sequence[str]) -> list[str]:
    """Phrases of a file, one a line; lines that are empty or start with "#" are passed over.

    Example:
        >>> read_phrases(["# names", "Torvald", "", " New York "])
        ['Torvald', 'New York']
    """
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
