"""The words of a filter: names, numbers, texts and signs with their places, read by hand and without backtracking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from omnifuse.search.filter_error import FilterError

LONGEST_FILTER = 10_000
_SIGNS = ("==", "!=", "<=", ">=", "<>", "<", ">", "=", "(", ")", ",")
_QUOTES = "'\""
_LETTERS_OF_NUMBERS = frozenset("0123456789.eE_")


class WordKind(StrEnum):
    """What a word is."""

    NAME = "name"
    QUOTED_NAME = "quoted name"
    NUMBER = "number"
    TEXT = "text"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True)
class Word:
    """One word of a filter; `value` is a float for a number, else a text. `start` and `end` are its place."""

    kind: WordKind
    value: str | float
    start: int
    end: int

    @property
    def keyword(self) -> str:
        """The word in small letters where it may be a keyword, else ""."""
        return str(self.value).lower() if self.kind is WordKind.NAME else ""

    def is_sign(self, sign: str) -> bool:
        """Whether it is this sign."""
        return self.kind is WordKind.SIGN and self.value == sign


def words_of(text: str) -> list[Word]:
    """All words of a filter, the last one being the end.

    Raises:
        FilterError: A text is not closed, a number is none, a character means nothing, or the filter is too long.

    Example:
        >>> [word.value for word in words_of("price <= 3.5 and `sort of` == 'coat'")]
        ['price', '<=', 3.5, 'and', 'sort of', '==', 'coat', '']
    """
    if len(text) > LONGEST_FILTER:
        what = f"it has {len(text)} characters, at most {LONGEST_FILTER} are read"
        raise FilterError(what, text[:LONGEST_FILTER], 0, 1, fix="Use `in (...)` for many values of one column")
    found: list[Word] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        word = _word_at(text, place)
        found.append(word)
        place = word.end
    return [*found, Word(WordKind.END, "", len(text), len(text))]


def _word_at(text: str, start: int) -> Word:
    letter = text[start]
    for sign in _SIGNS:
        if text.startswith(sign, start):
            return Word(WordKind.SIGN, {"=": "==", "<>": "!="}.get(sign, sign), start, start + len(sign))
    if letter in _QUOTES:
        value, end = _quoted(text, start, "text")
        return Word(WordKind.TEXT, value, start, end)
    if letter == "`":
        value, end = _quoted(text, start, "name")
        return Word(WordKind.QUOTED_NAME, value, start, end)
    if letter in "0123456789+-.":
        return _number(text, start)
    if letter.isalpha() or letter == "_":
        end = start
        while end < len(text) and (text[end].isalnum() or text[end] in "_."):
            end += 1
        return Word(WordKind.NAME, text[start:end], start, end)
    fix = {"&": "Write and", "|": "Write or", "!": "Write not", "~": "Write not"}.get(
        letter, "Put a name with such characters between backticks, a text between quotes"
    )
    shown = letter if letter.isprintable() else f"U+{ord(letter):04X}"
    raise FilterError(f"'{shown}' means nothing here", text, start, start + 1, fix=fix)


def _quoted(text: str, start: int, what: str) -> tuple[str, int]:
    """The content between quotes, and the place behind them; a doubled quote inside is one quote."""
    quote, place, parts = text[start], start + 1, []
    while True:
        end = text.find(quote, place)
        if end < 0:
            raise FilterError(f"the {what} that begins here does not end", text, start, len(text), fix=f"Add {quote}")
        parts.append(text[place:end])
        if not text.startswith(quote, end + 1):
            return quote.join(parts), end + 1
        place = end + 2


def _number(text: str, start: int) -> Word:
    end = start + 1
    while end < len(text) and (
        text[end] in _LETTERS_OF_NUMBERS or text[end].isalpha() or (text[end] in "+-" and text[end - 1] in "eE")
    ):
        end += 1
    try:
        value = float(text[start:end])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = text[start : min(end, start + 40)]
        raise FilterError(f"'{shown}' is no number", text, start, end, fix="Put a text between quotes: '...'")
    return Word(WordKind.NUMBER, value, start, end)
