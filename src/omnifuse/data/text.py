"""Text to token ids: byte-pair encoding trained on the training rows, for any language."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from omnifuse.errors import ArtefactError, InputError

PAD_ID, UNKNOWN_ID, MASK_ID, CLASS_ID = 0, 1, 2, 3
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[MASK]", "[CLS]")
MAX_TRAINING_CHARS = 10_000_000
_MAX_TOKEN_CHARS = 24
_CONTINUED = "##"

# Zero-width and bidirectional marks, soft hyphen, variation selectors: they carry no meaning for a model.
_INVISIBLE = re.compile("[\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Single-character classes only, so the time is linear in the text. Chinese characters, punctuation and symbols
# (emoji too) stand alone; all else is kept together up to the next space. Since "[" always stands alone, no text
# of a user can become the special token "[CLS]".
_ALONE = r"\p{Han}|\p{P}|\p{S}"


@dataclass(frozen=True)
class TextPreprocessor:
    """Turn a text into token ids by byte-pair encoding.

    Words are cut at spaces, punctuation and Chinese characters before the encoding; a word that occurs often is one
    token, a rare one is cut into pieces whose continuations start with ``##``. So a word has the same id wherever it
    stands, which makes bags of n-grams of ids meaningful. No token is put before or after the text.

    Args:
        tokenizer_json: Vocabulary and merges in the format of the `tokenizers` library.
        max_length: Longest id sequence; the rest of the text is cut.
        lowercase: Whether case is ignored. Prefer True below some 100,000 rows.
        max_chars: Longest text read, in characters; the rest is cut before any work is done on it.
        keep_end: Whether the last ids of a sequence that is too long are kept, instead of the first.
    """

    tokenizer_json: str
    max_length: int = 256
    lowercase: bool = True
    max_chars: int = 20_000
    keep_end: bool = False

    kind: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.max_chars < 1:
            raise InputError(
                f"max_length and max_chars must be at least 1, received {self.max_length} and {self.max_chars}"
            )

    @classmethod
    def fit(
        cls,
        cells: Iterable[Any],
        *,
        vocab_size: int = 4096,
        max_length: int = 256,
        lowercase: bool = True,
        max_chars: int = 20_000,
        min_frequency: int = 2,
        keep_end: bool = False,
    ) -> TextPreprocessor:
        """Learn the vocabulary from training cells.

        Args:
            cells: Texts (other values are taken as their `str`); None is skipped. At most `MAX_TRAINING_CHARS`
                characters are read.
            vocab_size: Upper limit; small data give fewer tokens.
            max_length: Longest id sequence.
            lowercase: Whether case is ignored.
            max_chars: Longest text read, in characters.
            min_frequency: How often a pair of pieces must occur to become one token.
            keep_end: Whether the end of a sequence that is too long is kept.

        Returns:
            The fitted preprocessor; the same cells give the same one, to the bit.

        Raises:
            InputError: `vocab_size` leaves no room for more than the special tokens.

        Example:
            >>> text = TextPreprocessor.fit(["a red car", "a blue car", "the red sky"])
            >>> text.tokens("A red CAR!")
            ['a', 'red', 'car', '[UNK]']
        """
        if vocab_size < 16:
            raise InputError(f"vocab_size must be at least 16, received {vocab_size}")
        words = _count_words(cells, lowercase, max_chars)
        model = _train(words, vocab_size, min_frequency)
        return cls(_pipeline(model, lowercase).to_str(), max_length, lowercase, max_chars, keep_end)

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """Token ids of one text.

        Args:
            value: A text; other values are taken as their `str`, bytes as UTF-8.

        Returns:
            ``ids`` int32 (L,), 1 <= L <= max_length; a text without any visible character is one unknown token.
        """
        ids = self._tokenizer.encode(clean_text(value, self.max_chars)).ids
        ids = ids[-self.max_length :] if self.keep_end else ids[: self.max_length]
        return {"ids": np.asarray(ids or [UNKNOWN_ID], dtype=np.int32)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"ids": np.zeros(0, np.int32)}

    def tokens(self, value: Any) -> list[str]:
        """The token texts that belong to the ids of `value`, for explanations."""
        return [str(self._tokenizer.id_to_token(int(index))) for index in self(value)["ids"]]

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text of token ids; special tokens are left out, pieces are joined to words."""
        tokens = [self._tokenizer.id_to_token(int(index)) for index in ids if int(index) > CLASS_ID]
        return str(decoders.WordPiece(prefix=_CONTINUED).decode([token for token in tokens if token is not None]))

    @property
    def vocab_size(self) -> int:
        """Number of ids, the special tokens included."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def pieces(self) -> tuple[str, ...]:
        """The word pieces in the order of their ids."""
        found: dict[str, int] = self._tokenizer.get_vocab()
        return tuple(sorted(found, key=found.__getitem__))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        # Only vocabulary and merges are read from the stored form: patterns found in a file are never compiled.
        try:
            model = json.loads(self.tokenizer_json)["model"]
            merges = [(str(left), str(right)) for left, right in model["merges"]]
            vocabulary = {str(token): int(index) for token, index in model["vocab"].items()}
            if [vocabulary.get(token) for token in SPECIAL_TOKENS] != [PAD_ID, UNKNOWN_ID, MASK_ID, CLASS_ID]:
                raise ValueError("special tokens are not the first four")
            if sorted(vocabulary.values()) != list(range(len(vocabulary))):
                raise ValueError("ids are not 0 to vocabulary size - 1")
            return _pipeline(_bpe(vocabulary, merges), self.lowercase)
        except Exception as error:  # the tokenizers library raises bare Exception for merges outside the vocabulary
            raise ArtefactError(f"The stored tokenizer cannot be read: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the tokenizer is a JSON text of its own."""
        return {
            "kind": self.kind,
            "tokenizer": self.tokenizer_json,
            "max_length": self.max_length,
            "lowercase": self.lowercase,
            "max_chars": self.max_chars,
            "keep_end": self.keep_end,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TextPreprocessor:
        """Inverse of `to_json`.

        Raises:
            ArtefactError: The tokenizer inside is damaged.
        """
        text = cls(
            str(data["tokenizer"]),
            int(data["max_length"]),
            bool(data["lowercase"]),
            int(data["max_chars"]),
            bool(data.get("keep_end", False)),
        )
        text.vocab_size  # noqa: B018 - reads the tokenizer, so that damage shows now and not at the first row
        return text


def clean_text(value: Any, max_chars: int = 20_000) -> str:
    """Cut a cell to `max_chars` and drop what cannot be seen.

    Control characters become spaces, zero-width and bidirectional marks vanish, surrogate pairs are joined and lone
    surrogates become U+FFFD. Never raises.
    """
    if isinstance(value, bytes | bytearray):
        value = bytes(value[: 4 * max_chars]).decode("utf-8", "replace")
    text = (value if isinstance(value, str) else str(value))[:max_chars]
    text = _CONTROL.sub(" ", text)
    if text.isascii():
        return text
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _INVISIBLE.sub("", text)


def _pipeline(model: models.BPE, lowercase: bool) -> Tokenizer:
    """The fixed way from text to ids around a vocabulary."""
    tokenizer = Tokenizer(model)
    steps = [normalizers.NFKC()] + ([normalizers.Lowercase()] if lowercase else [])
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(_ALONE), "isolated"),
        ]
    )
    return tokenizer


def _bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> models.BPE:
    return models.BPE(vocab=vocabulary, merges=merges, unk_token="[UNK]", continuing_subword_prefix=_CONTINUED)


def _training_texts(cells: Iterable[Any], max_chars: int) -> Iterator[str]:
    remaining = MAX_TRAINING_CHARS
    for cell in cells:
        if remaining <= 0:
            return
        if cell is not None:
            text = clean_text(cell, max_chars)
            remaining -= len(text)
            yield text


def _count_words(cells: Iterable[Any], lowercase: bool, max_chars: int) -> Counter[str]:
    """How often each word occurs, words being what the fixed pipeline hands to the encoding."""
    pipeline = _pipeline(models.BPE(), lowercase)
    words: Counter[str] = Counter()
    for text in _training_texts(cells, max_chars):
        normal = pipeline.normalizer.normalize_str(text)
        words.update(word for word, _ in pipeline.pre_tokenizer.pre_tokenize_str(normal))
    return words


def _alphabet(words: Counter[str], limit: int) -> list[str]:
    """The most frequent characters, as they stand at the start or inside of a word, in a fixed order."""
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        pieces[word[0]] += count
        for character in word[1:]:
            pieces[_CONTINUED + character] += count
    return sorted(sorted(pieces, key=lambda piece: (-pieces[piece], piece))[:limit])


def _train(words: Counter[str], vocab_size: int, min_frequency: int) -> models.BPE:
    """Train the merges.

    Left alone, the library numbers the characters inside words in the order of a randomly seeded hash table, so two
    runs on the same rows differ. Handing it the whole alphabet as "special" tokens fixes the order; they are taken
    out again, since special tokens would also be searched for in every text.
    """
    first = [*SPECIAL_TOKENS, *_alphabet(words, limit=vocab_size * 3 // 4)]
    known = set(first)
    usable = {
        word: count
        for word, count in words.items()
        if word[0] in known and all(_CONTINUED + character in known for character in word[1:])
    }
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix=_CONTINUED))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=first,
        show_progress=False,
        continuing_subword_prefix=_CONTINUED,
        max_token_length=_MAX_TOKEN_CHARS,
    )
    tokenizer.train_from_iterator(_repeated(usable), trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    merges = [(left, right) for left, right in trained["merges"]]
    # The library also adds, beyond the limit, characters as word starts that only stand inside of words
    kept = known.union(left + right.removeprefix(_CONTINUED) for left, right in merges)
    names = sorted(kept.intersection(trained["vocab"]), key=trained["vocab"].__getitem__)
    return _bpe({name: number for number, name in enumerate(names)}, merges)


def _repeated(words: dict[str, int]) -> Iterator[str]:
    """Each word as often as it was counted, in lines of at most 1000 words."""
    for word, count in words.items():
        for start in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - start))
