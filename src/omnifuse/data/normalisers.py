"""Named ways to write a text before it is learnt or compared: "none", "plain", "lower" and "basic".

A word error rate means nothing without the name of the normaliser behind it: "Don't!" and "don't" are one word or two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from omnifuse.data.text import clean_text
from omnifuse.errors import InputError, did_you_mean

_BLANKS = re.compile(r"\s+")
# Different signs for the apostrophe of "don't"
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u0060\u00b4\uff07", "'"))
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def as_text(value: object) -> str:
    """A cell as text: bytes as UTF-8, other values as their `str`; lone surrogates become U+FFFD."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    text = value if isinstance(value, str) else str(value)
    if not text.isascii() and _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _none(text: str) -> str:
    """As it stands."""
    return text


def _plain(text: str) -> str:
    """What cannot be seen left out, each run of blanks one, none outside."""
    return " ".join(clean_text(text).split())


def _lower(text: str) -> str:
    """NFKC, case folded, blanks of any kind and number to one space, none outside."""
    folded = unicodedata.normalize("NFKC", _CONTROL.sub(" ", text)).casefold()
    # Folding may take letters apart that belong together
    return _BLANKS.sub(" ", unicodedata.normalize("NFKC", folded)).strip()


def _basic(text: str) -> str:
    """As "lower", and without punctuation and symbols; an apostrophe between two letters stays."""
    lowered = _lower(text.translate(_APOSTROPHES))
    kept = []
    for place, character in enumerate(lowered):
        if character == "'":
            inside = 0 < place < len(lowered) - 1 and lowered[place - 1].isalnum() and lowered[place + 1].isalnum()
            kept.append("'" if inside else " ")
        else:
            kept.append(" " if unicodedata.category(character)[0] in "PSC" else character)
    return " ".join("".join(kept).split())


NORMALISERS: dict[str, Callable[[str], str]] = {"none": _none, "plain": _plain, "lower": _lower, "basic": _basic}


def normaliser(name: str) -> Callable[[str], str]:
    """The normaliser of a name.

    Args:
        name: "none" (as it stands), "plain" (no invisible characters, single spaces), "lower" (Unicode NFKC, case
            folded, single spaces) or "basic" (as "lower", without punctuation and symbols; the usual one for error
            rates of words).

    Raises:
        InputError: There is none of this name.

    Example:
        >>> normaliser("basic")("  Don\u2019t STOP -- it's 5\u00a0pm!")
        "don't stop it's 5 pm"
    """
    if name not in NORMALISERS:
        raise InputError(f"there is no text normaliser '{name}'", fix=did_you_mean(name, NORMALISERS))
    return NORMALISERS[name]
