"""N-gram language models as ARPA files, the text format that all toolkits read and write.

References: the format of the ARPA and of SRILM's `ngram-format(5)`: logarithms to base 10, back-off weights behind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from omnifuse.errors import InputError
from omnifuse.files import write_atomically
from omnifuse.readout.ngram import END, MOST_ORDERS, NEVER, START, UNKNOWN, Context, NgramModel

MAX_NGRAMS = 20_000_000
MAX_LINE_CHARS = 100_000
_COUNT = re.compile(r"ngram (\d{1,2})=(\d{1,12})")
_SECTION = re.compile(r"\\(\d{1,2})-grams:")
_LN10 = math.log(10.0)


def write_arpa(model: NgramModel, path: str | Path) -> None:
    """Write a language model; see `arpa_bytes`."""
    write_atomically(Path(path), arpa_bytes(model))


def arpa_bytes(model: NgramModel) -> bytes:
    """A language model as the content of an ARPA file.

    Args:
        model: Its tokens must not hold blanks; write the token of a space as "\\u2581" or "<space>".

    Raises:
        InputError: A token holds a blank or is empty.
    """
    bad = next((token for token in model.vocabulary if not token or len(token.split()) != 1), None)
    if bad is not None:
        raise InputError(f"the token {bad!r} cannot be written to an ARPA file", fix="Use tokens without blanks")
    by_length: list[list[Context]] = [[] for _ in range(model.order)]
    for ngram in model.logs:
        by_length[len(ngram) - 1].append(ngram)
    # The start has no probability, yet the file must have its line
    if (1,) not in model.logs:
        by_length[0].append((1,))
    lines = ["\\data\\", *(f"ngram {length}={len(found)}" for length, found in enumerate(by_length, start=1)), ""]
    for length, found in enumerate(by_length, start=1):
        lines.append(f"\\{length}-grams:")
        for ngram in sorted(found):
            words = " ".join(model.vocabulary[token] for token in ngram)
            value = max(model.logs.get(ngram, NEVER), NEVER) / _LN10
            backoff = model.backoffs.get(ngram)
            lines.append(f"{value:.9g}\t{words}" + ("" if backoff is None else f"\t{backoff / _LN10:.9g}"))
        lines.append("")
    lines.append("\\end\\")
    return ("\n".join(lines) + "\n").encode()


def read_arpa(path: str | Path) -> NgramModel:
    """Read a language model.

    Args:
        path: Of the file, UTF-8.

    Returns:
        The model; a file without "<unk>" gets one that is never expected.

    Raises:
        InputError: The file is absent or no ARPA file; file and line are named.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"there is no language model '{source.name}'", fix="Give the path of an ARPA file")
    with source.open(encoding="utf-8", errors="replace") as handle:
        return _Reading(source.name).read(enumerate(iter(lambda: handle.readline(MAX_LINE_CHARS), ""), start=1))


class _Reading:
    """What was read of one file."""

    def __init__(self, name: str) -> None:
        self.name, self.line = name, 0
        self.index = {UNKNOWN: 0, START: 1, END: 2}
        self.logs: dict[Context, float] = {}
        self.backoffs: dict[Context, float] = {}
        self.promised: dict[int, int] = {}

    def wrong(self, what: str) -> InputError:
        return InputError(
            f"'{self.name}' is no readable ARPA language model: {what}",
            where=f"line {self.line}",
            fix="Write it anew with a language model toolkit; compressed and binary files are not read",
        )

    def read(self, lines: Iterator[tuple[int, str]]) -> NgramModel:
        length, ended, found = -1, False, 0
        for self.line, raw in lines:
            text = raw.strip()
            if not text or (length < 0 and text != "\\data\\"):
                continue
            if text == "\\end\\":
                ended = True
                break
            if text == "\\data\\":
                length = 0
            elif length == 0 and (count := _COUNT.fullmatch(text)):
                self.promised[int(count[1])] = int(count[2])
            elif section := _SECTION.fullmatch(text):
                length = int(section[1])
                if length not in self.promised or length > MOST_ORDERS:
                    raise self.wrong(f"section {text} was not announced, or its n-grams are longer than {MOST_ORDERS}")
            elif length > 0:
                self.ngram(text, length)
                found += 1
            else:
                raise self.wrong(f"'{text[:40]}' was not expected")
            if found > MAX_NGRAMS:
                raise self.wrong(f"it has more than {MAX_NGRAMS:,} n-grams")
        if not ended or found != sum(self.promised.values()) or not found:
            raise self.wrong(f"{sum(self.promised.values())} n-grams were announced, {found} are there")
        self.logs.setdefault((0,), NEVER)
        self.logs.setdefault((2,), NEVER)
        return NgramModel(tuple(self.index), max(self.promised), self.logs, self.backoffs)

    def ngram(self, text: str, length: int) -> None:
        """One line: logarithm, tokens, and perhaps the logarithm of the back-off."""
        parts = text.split()
        if len(parts) not in (length + 1, length + 2):
            raise self.wrong(f"an n-gram of {length} tokens has {len(parts)} columns")
        try:
            value = float(parts[0])
            backoff = float(parts[-1]) if len(parts) == length + 2 else None
        except ValueError:
            raise self.wrong("a number was expected") from None
        if (
            (not math.isfinite(value) and value != -math.inf)
            or value > 1e-6
            or (backoff is not None and math.isnan(backoff))
        ):
            raise self.wrong(f"{value} is the logarithm of no probability")
        tokens = []
        for token in parts[1 : length + 1]:
            word = {"<UNK>": UNKNOWN, "<S>": START, "</S>": END}.get(token, token)
            if length == 1:
                self.index.setdefault(word, len(self.index))
            elif word not in self.index:
                raise self.wrong(f"'{word[:40]}' is in an n-gram, but not among the single tokens")
            tokens.append(self.index[word])
        ngram = tuple(tokens)
        if ngram != (1,):
            self.logs[ngram] = max(min(value, 0.0) * _LN10, NEVER)
        if backoff is not None:
            self.backoffs[ngram] = max(backoff * _LN10, NEVER)
