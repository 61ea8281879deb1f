"""Whether one text spells another, word by word: as a copy, or in a code such as "94" for "nine four"."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from omnifuse.data.lookup import codes_of, looked_up

_GAIN = 0.1
_LONGEST_CELL = 5_000
_MOST_TOKENS = 200
_TOKEN = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\\W_]+")


def spelt_share(texts: Sequence[str], wanted: Sequence[str], half: np.ndarray) -> float:
    """Share of the words of `wanted` that follow from the word, or the character, at the same place in `texts`.

    Args:
        texts: One text a row.
        wanted: The text of the row that may be spelt.
        half: (R,) 0 or 1: a code is learnt on one half of the rows and checked on the other.

    Returns:
        0 to 1; 0 where the most frequent word alone does nearly as well, or few rows have as many words.
    """
    words = [_tokens(text) for text in wanted]
    return max(_share([split(text) for text in texts], words, half) for split in (_tokens, _characters))


def _tokens(text: str) -> list[str]:
    """Words, and single characters of scripts without blanks; at most 200."""
    return _TOKEN.findall(text[:_LONGEST_CELL].lower())[:_MOST_TOKENS]


def _characters(text: str) -> list[str]:
    return [mark for mark in text[:_MOST_TOKENS].lower() if mark.isalnum()]


def _share(given: list[list[str]], wanted: list[list[str]], half: np.ndarray) -> float:
    """Share of the words that follow from the token at the same place; rows with another number of tokens are wrong.

    A code is learnt on the other half of the rows; a copy needs no learning. 0 where the most frequent word alone
    does nearly as well.
    """
    fits = [len(one) == len(two) > 0 for one, two in zip(given, wanted, strict=True)]
    if sum(fits) <= 0.9 * len(fits):
        return 0.0
    pairs = [
        (one, two, side)
        for left, right, fit, side in zip(given, wanted, fits, half.tolist(), strict=True)
        for one, two in zip(left if fit else [], right if fit else [], strict=True)
    ]
    total = sum(map(len, wanted))
    codes, _ = codes_of([one for one, _, _ in pairs])
    words, _ = codes_of([two for _, two, _ in pairs])
    right = looked_up(codes, words, np.array([side for _, _, side in pairs]))
    same = np.array([one == two for one, two, _ in pairs])
    share = float((right | same).sum() / total)
    return share if share - np.bincount(words).max() / total >= _GAIN else 0.0
