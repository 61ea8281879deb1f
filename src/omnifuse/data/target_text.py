"""Texts that a model writes: a vocabulary for each such target, and cells to arrays of ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from omnifuse.data.bpe import END_ID, NUM_SPECIAL, UNITS, TargetTokenizer
from omnifuse.data.normalisers import normaliser
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Schema, Target, TaskKind

AUTO = "auto"
# Most characters and pieces of a vocabulary; Chinese texts have a few thousand characters
MAX_CHARACTERS, MAX_PIECES = 4000, 1024
# Long texts in such numbers that a piece is seen often: pieces make them several times shorter to learn and to write
_MANY_TEXTS, _LONG_CHARS = 300, 32.0
# Words that are a list to choose from, each said so often
_FEW_WORDS, _OFTEN = 50, 20


@dataclass(frozen=True)
class TextOptions:
    """How texts that are written become ids.

    Args:
        units: "characters", "bpe", or "auto": see `usual_units`.
        normaliser: Name in `data.normalisers`: what is done to a text before it is learnt.
        max_length: Most ids of a text that is learnt from or written; longer ones are cut, which `written_notes`
            counts.
    """

    units: str = AUTO
    normaliser: str = "plain"
    max_length: int = 256

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.units not in (AUTO, *UNITS):
            raise InputError(f"there are no units '{self.units}' of text", fix=did_you_mean(self.units, (AUTO, *UNITS)))
        normaliser(self.normaliser)

    def fit(self, cells: Sequence[Any], target: Target) -> TargetTokenizer:
        """The vocabulary of a target's cells, None where missing."""
        units = self.units if self.units != AUTO else usual_units(cells, target)
        room = NUM_SPECIAL + (MAX_CHARACTERS if units == "characters" else MAX_PIECES)
        return TargetTokenizer.fit(
            cells, units=units, vocab_size=room, normaliser=self.normaliser, max_length=self.max_length
        )


def usual_units(cells: Sequence[Any], target: Target) -> str:
    """The units of "auto".

    Pieces of words where there are many long texts, and for transcripts of a few words that come again and again, such
    as digits: each is then one piece, however quickly it is said. Else characters, which spell words never heard.

    Args:
        cells: None where missing.
        target: Whose they are.
    """
    known = [str(cell) for cell in cells if cell is not None]
    if target.kind is TaskKind.TRANSCRIPTION:
        words = Counter(word for text in known for word in text.split())
        is_list = 0 < len(words) <= _FEW_WORDS and min(words.values()) >= _OFTEN
        return "bpe" if is_list else "characters"
    return "bpe" if len(known) >= _MANY_TEXTS and fmean(map(len, known)) >= _LONG_CHARS else "characters"


def fit_target_texts(
    cells: Mapping[str, Sequence[Any]], schema: Schema, options: TextOptions | None = None
) -> dict[str, TargetTokenizer]:
    """A vocabulary for each target that is written.

    Args:
        cells: Target to its cells, None where missing.
        schema: Names the targets.
        options: Units, normaliser, longest text.

    Raises:
        InputError: A target has the name of an input, or no cell holds a character.
    """
    inputs = {item.name for item in schema.inputs}
    found = {}
    for target in schema.written:
        if target.name in inputs:
            raise InputError(f"the label '{target.name}' has the name of an input", fix="Rename the column")
        text = (options or TextOptions()).fit(cells[target.name], target)
        if text.vocab_size == NUM_SPECIAL:
            raise InputError(f"no cell of the label '{target.name}' holds a character", fix="Give rows with a text")
        longest = max(len(text.encode(cell)) for cell in cells[target.name] if cell is not None)
        # A network that finds no end shall not write on and on
        found[target.name] = replace(text, max_length=min(text.max_length, 2 * longest))
    return found


def encode_texts(cells: Sequence[Any], text: TargetTokenizer) -> np.ndarray:
    """Texts as one array.

    Args:
        cells: R cells, None = missing.
        text: Their vocabulary.

    Returns:
        int32 (R, T): the ids of each text and `END_ID`, then -1; a row of -1 is missing. A text that was cut has no
        end.
    """
    listed: list[list[int]] = []
    for cell in cells:
        ids = [] if cell is None else text.encode(cell)
        listed.append(ids if cell is None or text.is_cut(cell) else [*ids, END_ID])
    encoded = np.full((len(listed), max(map(len, listed), default=1) or 1), -1, np.int32)
    for row, ids in enumerate(listed):
        encoded[row, : len(ids)] = ids
    return encoded


def decode_texts(encoded: np.ndarray, text: TargetTokenizer) -> list[str | None]:
    """Inverse of `encode_texts` as far as characters are known and texts were not cut; None where missing."""
    return [text.decode(row[row >= 0]) if row[0] >= 0 else None for row in encoded]


def written_notes(name: str, cells: Sequence[Any], text: TargetTokenizer) -> list[str]:
    """Sentences on texts that are cut and on characters that cannot be written."""
    known = [cell for cell in cells if cell is not None]
    cut = sum(map(text.is_cut, known))
    unknown = text.unknown_characters(known).total()
    empty = sum(not text.normalise(cell) for cell in known)
    notes = [f"{cut} texts of '{name}' are longer than {text.max_length} ids and are cut."] if cut else []
    notes += [f"{unknown} characters of '{name}' were not seen in training and cannot be written."] if unknown else []
    return notes + ([f"{empty} texts of '{name}' are empty: nothing is written for such rows."] if empty else [])
