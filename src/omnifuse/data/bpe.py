"""Text targets to token ids and back without loss: byte-pair encoding or characters, learnt from the training texts.

A target differs from an input text: what is generated must be turned back into the very text. So a space is a sign of
its own (the piece "_" below stands for U+2581), put before the word that follows it.

References: Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units; Kudo and Richardson 2018,
SentencePiece (the sign for the space).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from omnifuse.data.normalisers import as_text, normaliser
from omnifuse.errors import ArtefactError, InputError, did_you_mean

# The blank of CTC and the padding of the decoder share an id: neither is ever part of a text
BLANK_ID, UNKNOWN_ID, START_ID, END_ID = 0, 1, 2, 3
SPECIAL_PIECES = ("[BLANK]", "[UNK]", "[START]", "[END]")
NUM_SPECIAL = len(SPECIAL_PIECES)
SPACE = "\u2581"
# What stands in a text for a character that was never seen
REPLACEMENT = "\ufffd"
UNITS = ("bpe", "characters")
MAX_TRAINING_CHARS = 10_000_000
_MAX_PIECE_CHARS = 24
# A word with the space before it; punctuation, symbols, Chinese characters and all other blanks stand alone
_WORDS = rf"{SPACE}?[^\s{SPACE}\p{{P}}\p{{S}}\p{{Han}}]+|{SPACE}?[\p{{P}}\p{{S}}\p{{Han}}]|[\s\S]"


@dataclass(frozen=True)
class TargetTokenizer:
    """Turn a text target into token ids and back.

    Args:
        pieces: Text of each id; the first four are `SPECIAL_PIECES`. A piece that starts with `SPACE` starts a word.
        merges: Pairs of pieces that become one, in the order in which they are tried; none where units are characters.
        units: "bpe" or "characters".
        normaliser: Name of the text normaliser that is applied before, see `data.normalisers`.
        max_length: Longest id sequence; the rest of the text is cut, and `is_cut` tells.
        max_chars: Longest text read, in characters.
    """

    pieces: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()
    units: str = "bpe"
    normaliser: str = "none"
    max_length: int = 512
    max_chars: int = 20_000

    kind: ClassVar[str] = "target_text"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.units not in UNITS:
            raise InputError(f"there are no units '{self.units}' of text", fix=did_you_mean(self.units, UNITS))
        if self.max_length < 1 or self.max_chars < 1:
            raise InputError(
                f"max_length and max_chars must be at least 1, received {self.max_length} and {self.max_chars}"
            )
        normaliser(self.normaliser)
        if self.pieces[:NUM_SPECIAL] != SPECIAL_PIECES or len(set(self.pieces)) < len(self.pieces):
            raise ArtefactError("The stored tokenizer cannot be read: its pieces are not its own")
        known = set(self.pieces)
        if any(part not in known for left, right in self.merges for part in (left, right, left + right)):
            raise ArtefactError("The stored tokenizer cannot be read: a merge gives a piece that is not there")

    @classmethod
    def fit(
        cls,
        cells: Iterable[Any],
        *,
        units: str = "bpe",
        vocab_size: int = 1024,
        normaliser: str = "basic",
        min_frequency: int = 2,
        max_length: int = 512,
    ) -> TargetTokenizer:
        """Learn the pieces from training texts.

        Args:
            cells: Texts; None is skipped. At most `MAX_TRAINING_CHARS` characters are read.
            units: "characters" suits a few hundred transcripts; "bpe" makes shorter sequences.
            vocab_size: Upper limit, the four special pieces included; small data give fewer.
            normaliser: Name of the text normaliser.
            min_frequency: How often a pair of pieces must occur to become one.
            max_length: Longest id sequence.

        Returns:
            The same texts give the same tokenizer, to the bit.

        Raises:
            InputError: `vocab_size` leaves no room, or a name is not known.

        Example:
            >>> tokenizer = TargetTokenizer.fit(["a red car", "the red bus"], units="characters")
            >>> tokenizer.decode(tokenizer.encode("A  red cat!"))
            'a red cat'
        """
        if vocab_size < 2 * NUM_SPECIAL:
            raise InputError(f"vocab_size must be at least {2 * NUM_SPECIAL}, received {vocab_size}")
        empty = cls(SPECIAL_PIECES, (), units, normaliser, max_length)
        words = Counter(word for text in _limited(cells, empty) for word in empty.words(text))
        characters: Counter[str] = Counter()
        for word, count in words.items():
            for character in word:
                characters[character] += count
        # Text may end at any character and words start anywhere, so all that was seen are pieces, the commonest first
        room = vocab_size - NUM_SPECIAL if units == "characters" else max(1, (vocab_size - NUM_SPECIAL) * 3 // 4)
        known = sorted(sorted(characters, key=lambda item: (-characters[item], item))[:room])
        if units == "characters":
            return cls((*SPECIAL_PIECES, *known), (), units, normaliser, max_length)
        pieces, merges = _train(words, known, vocab_size, min_frequency)
        return cls((*SPECIAL_PIECES, *pieces), merges, units, normaliser, max_length)

    def normalise(self, value: Any) -> str:
        """The text that `decode` gives back, where all its characters are known and it is not cut."""
        return normaliser(self.normaliser)(as_text(value)[: self.max_chars])

    def words(self, text: str) -> list[str]:
        """A normalised text in the chunks within which pieces are merged."""
        found: list[tuple[str, Any]] = self._tokenizer.pre_tokenizer.pre_tokenize_str(self._marked(text))
        return [word for word, _ in found]

    def encode(self, value: Any) -> list[int]:
        """Ids of a text, at most `max_length`, without start and end; characters never seen are `UNKNOWN_ID`."""
        return [int(index) for index in self._encode(value)[: self.max_length]]

    def is_cut(self, value: Any) -> bool:
        """True where the text is longer than what `encode` gives."""
        return len(as_text(value)) > self.max_chars or len(self._encode(value)) > self.max_length

    def _encode(self, value: Any) -> list[int]:
        found: list[int] = self._tokenizer.encode(self._marked(self.normalise(value))).ids
        return found

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """``ids`` int32 (L,), 0 <= L <= max_length."""
        return {"ids": np.asarray(self.encode(value), dtype=np.int32)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"ids": np.zeros(0, np.int32)}

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; specials and ids outside the vocabulary are left out, an unknown character is U+FFFD."""
        parts = []
        for index in map(int, ids):
            if index == UNKNOWN_ID:
                parts.append(REPLACEMENT)
            elif NUM_SPECIAL <= index < len(self.pieces):
                parts.append(self.pieces[index])
        text = "".join(parts)
        if self.units == "bpe":
            text = text.removeprefix(SPACE)
        return text.replace(SPACE, " ")

    def unknown_characters(self, values: Iterable[Any]) -> Counter[str]:
        """Characters of some texts that have no piece, with how often they occur; None is skipped."""
        known = set(self.pieces)
        texts = (self._marked(self.normalise(value)) for value in values if value is not None)
        return Counter(character for text in texts for character in text if character not in known)

    def ids_spelling(self, characters: str) -> list[int]:
        """Ids of pieces that consist of some characters alone, the space before a word left aside."""
        allowed = set(characters) - {" "}
        texts = ((index, self.pieces[index].removeprefix(SPACE)) for index in range(NUM_SPECIAL, len(self.pieces)))
        return [index for index, text in texts if text and set(text) <= allowed]

    def ids_ending(self, characters: str) -> list[int]:
        """Ids of pieces that end with one of some characters."""
        marked = tuple(characters.replace(" ", SPACE))
        return [index for index in range(NUM_SPECIAL, len(self.pieces)) if self.pieces[index].endswith(marked)]

    @property
    def vocab_size(self) -> int:
        """Number of ids, the special ones included."""
        return len(self.pieces)

    def _marked(self, text: str) -> str:
        """With signs for the spaces; the sign itself counts as a character that was never seen."""
        text = text.replace(SPACE, REPLACEMENT).replace(" ", SPACE)
        return SPACE + text if self.units == "bpe" and text else text

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        vocabulary = {piece: index for index, piece in enumerate(self.pieces)}
        tokenizer = Tokenizer(
            models.BPE(vocab=vocabulary, merges=list(self.merges), unk_token=SPECIAL_PIECES[UNKNOWN_ID])
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "isolated")
        return tokenizer

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "pieces": list(self.pieces),
            "merges": [list(pair) for pair in self.merges],
            "units": self.units,
            "normaliser": self.normaliser,
            "max_length": self.max_length,
            "max_chars": self.max_chars,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TargetTokenizer:
        """Inverse of `to_json`.

        Raises:
            ArtefactError: Pieces and merges do not belong together.
        """
        try:
            merges = tuple((str(left), str(right)) for left, right in data["merges"])
            pieces = tuple(str(piece) for piece in data["pieces"])
            limits = int(data["max_length"]), int(data["max_chars"])
            return cls(pieces, merges, str(data["units"]), str(data["normaliser"]), *limits)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"The stored tokenizer cannot be read: {error}") from error


def _limited(cells: Iterable[Any], tokenizer: TargetTokenizer) -> Iterator[str]:
    """Normalised training texts, until enough was read."""
    remaining = MAX_TRAINING_CHARS
    for cell in cells:
        if remaining <= 0:
            return
        if cell is not None:
            text = tokenizer.normalise(cell)
            remaining -= len(text)
            yield text


def _train(
    words: Counter[str], known: Sequence[str], vocab_size: int, min_frequency: int
) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Pieces (characters first) and merges.

    Left alone, the library numbers characters in the order of a randomly seeded hash table, so two runs on the same
    texts differ. Handing it the whole alphabet as "special" tokens fixes the order.
    """
    alphabet = set(known)
    # A word with a character for which there was no room teaches nothing that can be used
    usable = {word: count for word, count in words.items() if set(word) <= alphabet and not word.isspace()}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - NUM_SPECIAL,
        min_frequency=min_frequency,
        special_tokens=list(known),
        show_progress=False,
        max_token_length=_MAX_PIECE_CHARS,
    )
    lines = (" ".join([word] * min(1000, n - at)) for word, n in usable.items() for at in range(0, n, 1000))
    tokenizer.train_from_iterator(lines, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    merges = tuple((str(left), str(right)) for left, right in trained["merges"])
    pieces = [*known, *dict.fromkeys(left + right for left, right in merges)]
    return pieces, merges
