"""Texts that a model writes: ids of their characters, and back.

What a task, a search and a readout need of a vocabulary is `TargetText`; whatever offers it may stand in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from omnifuse.data.text import clean_text
from omnifuse.errors import InputError
from omnifuse.schema import Schema

# Ids that no text holds: CTC's blank, what was never seen in training, before the first and behind the last
BLANK_ID, UNKNOWN_ID, START_ID, END_ID = 0, 1, 2, 3
NUM_SPECIAL = 4
MAX_CHARACTERS = 4000


class TargetText(Protocol):
    """A vocabulary for writing. Ids below `NUM_SPECIAL` are special, all others are pieces of texts."""

    kind: ClassVar[str]

    @property
    def max_length(self) -> int:
        """Most ids of a text."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids, the special ones included."""
        ...

    def normalise(self, value: Any) -> str:
        """The text that `decode` gives back, where all of it is known and it is not cut."""
        ...

    def encode(self, value: Any) -> list[int]:
        """At most `max_length` ids of a text, without start and end; what was never seen is `UNKNOWN_ID`."""
        ...

    def is_cut(self, value: Any) -> bool:
        """True where the text is longer than what `encode` gives."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; start, end and blank are left out."""
        ...

    def unknown_characters(self, values: Iterable[Any]) -> Counter[str]:
        """Characters of some texts that cannot be written, with how often they occur; None is skipped."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values with the key "kind"."""
        ...


@dataclass(frozen=True)
class CharacterText:
    """One id a character.

    Args:
        characters: Those that can be written, in the order of their ids.
        max_length: Most characters of a text that is learnt from or written; longer ones are cut, which
            `written_notes` counts.

    Example:
        >>> text = CharacterText.fit(["a cab", "bad"])
        >>> text.encode("a bag"), text.decode(text.encode("a bag"))
        ([5, 4, 6, 5, 1], 'a ba')
    """

    characters: str
    max_length: int = 256

    kind: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise InputError(f"max_length must be at least 1, received {self.max_length}")
        if len(set(self.characters)) != len(self.characters):
            raise InputError("a character comes twice")

    @classmethod
    def fit(cls, cells: Iterable[Any], *, max_length: int = 256) -> CharacterText:
        """Learn which characters there are.

        Args:
            cells: Texts, None where missing.
            max_length: Most characters of a text.
        """
        counts: Counter[str] = Counter()
        for cell in cells:
            if cell is not None:
                counts.update(plain_text(cell))
        kept = sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:MAX_CHARACTERS])
        return cls("".join(kept), max_length)

    @property
    def vocab_size(self) -> int:
        """Number of ids, the special ones included."""
        return NUM_SPECIAL + len(self.characters)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {letter: NUM_SPECIAL + place for place, letter in enumerate(self.characters)}

    def normalise(self, value: Any) -> str:
        """See `plain_text`."""
        return plain_text(value)

    def encode(self, value: Any) -> list[int]:
        """At most `max_length` ids of a text without outer blanks."""
        ids = self._ids
        return [ids.get(letter, UNKNOWN_ID) for letter in plain_text(value)[: self.max_length]]

    def is_cut(self, value: Any) -> bool:
        """True where the text is longer than what `encode` gives."""
        return len(plain_text(value)) > self.max_length

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones are left out."""
        return "".join(self.characters[int(one) - NUM_SPECIAL] for one in ids if int(one) >= NUM_SPECIAL)

    def unknown_characters(self, values: Iterable[Any]) -> Counter[str]:
        """Characters of some texts that cannot be written, with how often they occur; None is skipped."""
        texts = (plain_text(value) for value in values if value is not None)
        return Counter(letter for text in texts for letter in text if letter not in self._ids)

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """``ids`` int32 (L,) of one text, cut at `max_length`."""
        return {"ids": np.asarray(self.encode(value), dtype=np.int32)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"ids": np.zeros(0, np.int32)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "characters": self.characters, "max_length": self.max_length}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CharacterText:
        """Inverse of `to_json`."""
        return cls(str(data["characters"]), int(data["max_length"]))


def plain_text(cell: Any) -> str:
    """The text of a cell: what cannot be seen left out, each run of blanks one, none at the ends.

    Example:
        >>> plain_text("  a  red car ")
        'a red car'
    """
    return " ".join(clean_text(cell).split())


def fit_target_texts(
    cells: Mapping[str, Sequence[Any]], schema: Schema, *, max_length: int = 256
) -> dict[str, CharacterText]:
    """A vocabulary for each target that is written.

    Args:
        cells: Target to its cells, None where missing.
        schema: Names the targets.
        max_length: Most ids of a text.

    Raises:
        InputError: A target has the name of an input, or no cell holds a character.
    """
    inputs = {item.name for item in schema.inputs}
    found = {}
    for target in schema.written:
        if target.name in inputs:
            raise InputError(f"the label '{target.name}' has the name of an input", fix="Rename the column")
        text = CharacterText.fit(cells[target.name], max_length=max_length)
        if text.vocab_size == NUM_SPECIAL:
            raise InputError(f"no cell of the label '{target.name}' holds a character", fix="Give rows with a text")
        longest = max(len(text.encode(cell)) for cell in cells[target.name] if cell is not None)
        # A network that finds no end shall not write on and on
        found[target.name] = replace(text, max_length=min(max_length, 2 * longest))
    return found


def encode_texts(cells: Sequence[Any], text: TargetText) -> np.ndarray:
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


def decode_texts(encoded: np.ndarray, text: TargetText) -> list[str | None]:
    """Inverse of `encode_texts` as far as characters are known and texts were not cut; None where missing."""
    return [text.decode(row[row >= 0]) if row[0] >= 0 else None for row in encoded]


def written_notes(name: str, cells: Sequence[Any], text: TargetText) -> list[str]:
    """Sentences on texts that are cut and on characters that cannot be written."""
    known = [cell for cell in cells if cell is not None]
    cut = sum(map(text.is_cut, known))
    unknown = text.unknown_characters(known).total()
    empty = sum(not text.normalise(cell) for cell in known)
    notes = [f"{cut} texts of '{name}' are longer than {text.max_length} ids and are cut."] if cut else []
    notes += [f"{unknown} characters of '{name}' were not seen in training and cannot be written."] if unknown else []
    return notes + ([f"{empty} texts of '{name}' are empty: nothing is written for such rows."] if empty else [])
