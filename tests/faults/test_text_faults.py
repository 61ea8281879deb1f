"""T19 and T20: texts made to break readers, and texts made to stop regular expressions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np
import pytest

from omnifuse.data.date import DatePreprocessor, parse_date
from omnifuse.data.findings import find
from omnifuse.data.infer import infer_schema
from omnifuse.data.kinds import judge
from omnifuse.data.leaks import find_leak_columns
from omnifuse.data.numbers import parse_number
from omnifuse.data.personal import personal_findings
from omnifuse.data.tables import open_table
from omnifuse.data.targets import tag_texts
from omnifuse.data.text import TextPreprocessor, clean_text
from omnifuse.data.write import escape_formula
from omnifuse.errors import InputError

HARD_TEXTS = {
    "one token of 10 MB": "x" * 10_000_000,
    "lone surrogates": "a\ud800b\udfff " * 5000,
    "right to left": "\u202e\u0645\u0631\u062d\u0628\u0627\u202c " * 5000,
    "zero width": "a\u200b\u200d\ufeff" * 5000,
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f1e9\U0001f1ea" * 5000,
    "NUL": "a\0b" * 5000,
    "combining marks": "e" + "\u0301" * 50_000,
    "blanks": " \t\n\u3000" * 50_000,
}


@pytest.fixture(scope="module")
def fitted():
    return TextPreprocessor.fit(["a red car in the rain", "an old lamp"] * 5)


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_t19_hard_texts_are_capped_and_deterministic(name, fitted):
    text = HARD_TEXTS[name]
    ids = fitted(text)["ids"]
    assert 1 <= len(ids) <= fitted.max_length
    assert np.array_equal(ids, fitted(text)["ids"])
    cleaned = clean_text(text)
    assert len(cleaned) <= 20_000
    assert cleaned.encode("utf-8")
    assert not set(cleaned) & {"\0", "\u202e", "\u200b", "\ufeff"}
    fitted.decode(ids)


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_t19_hard_texts_can_be_learnt_from(name):
    cells = [HARD_TEXTS[name], "a red car", None]
    fitted = TextPreprocessor.fit(cells, vocab_size=256)
    assert fitted.vocab_size <= 256
    assert fitted == TextPreprocessor.fit(cells, vocab_size=256)


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_t19_hard_texts_in_a_table(name):
    text = HARD_TEXTS[name]
    table = open_table([{"note": f"{text[:3000]} {row}", "label": "ab"[row % 2]} for row in range(40)])
    schema = infer_schema(table, ("label",), fields={"note": "text"}, tasks={}, drop=(), group=None, time=None)
    first = find(table, schema)
    assert [item.to_json() for item in first] == [item.to_json() for item in find(table, schema)]


def seconds_or_none(cell):
    try:
        return parse_date(cell)
    except InputError:
        return None


LABELS = ["cat", "dog\u4e2d\u6587"] * 20
PREPROCESSOR = TextPreprocessor.fit(["a red car in the rain", "an old lamp"] * 5, max_chars=10**9, max_length=10**9)


def leaks_of(cell):
    return find_leak_columns(open_table([{"note": cell}] * 40), ["note"], LABELS)


def findings_of(cell):
    table = open_table([{"note": f"{row}{cell}", "label": label} for row, label in enumerate(LABELS)])
    return find(
        table, infer_schema(table, ("label",), fields={"note": "text"}, tasks={}, drop=(), group=None, time=None)
    )


READERS: dict[str, Callable[[str], object]] = {
    "parse_number": parse_number,
    "parse_date": seconds_or_none,
    "date order": lambda cell: DatePreprocessor.fit([cell] * 20),
    "clean_text": lambda cell: clean_text(cell, 10**9),
    "tokens": lambda cell: PREPROCESSOR(cell),
    "judge": lambda cell: judge("note", [cell] * 20),
    "judge its name": lambda cell: judge(cell, ["a", "b"]),
    "personal": lambda cell: personal_findings("note", [cell] * 20),
    "personal name": lambda cell: personal_findings(cell, ["x"] * 3),
    "leaks": leaks_of,
    "find": findings_of,
    "tags": tag_texts,
    "formula": escape_formula,
}
CORPUS = [
    "a",
    " ",
    "<s_",
    "1",
    "1,",
    "1 ",
    "0-",
    "a@",
    "a.",
    "(",
    "'1",
    "1:",
    "jan ",
    "\u4e2d",
    "|",
    "\n",
    "=",
    "##",
    "[CLS]",
]
CORPUS += ["\u0301", "\ud800", "A1 street "]


def fastest(read, text):
    """Least processor time of several runs: what else runs on the machine can only add."""
    times = []
    for _ in range(2):
        start = time.thread_time()
        read(text)
        times.append(time.thread_time() - start)
    return min(times)


# Shorter times are those of the clock and of the call: an expression counts as slow from 16 ms for the long text on
FLOOR_S = 0.00025
# Sixteen times the text takes a linear reader 16 times as long and a quadratic one 256 times. The limit stands between
# them, four times as far from both, so that neither caches nor a busy machine decide
LONGER = 16
LIMIT = 64
TRIALS = 6


def slow_pieces(read, corpus, length):
    """Pieces whose repetition makes the time grow faster than the text, with the ratio."""
    slow = {}
    for piece in corpus:
        short, long = (piece * (length * factor // len(piece)) + "!" for factor in (1, LONGER))
        best = [float("inf")] * 2
        for _ in range(TRIALS):
            best = [min(least, fastest(read, text)) for least, text in zip(best, (short, long), strict=True)]
            ratio = max(best[1], FLOOR_S) / max(best[0], FLOOR_S)
            if ratio <= LIMIT:
                break
        else:
            slow[piece] = ratio
    return slow


@pytest.mark.parametrize("name", READERS)
def test_t20_time_grows_with_the_text_and_no_faster(name):
    # What reads at most 5,000 characters of a cell is measured below that
    length = 300 if name in ("leaks", "find") else 1000
    assert slow_pieces(READERS[name], CORPUS, length) == {}


def test_t20_a_slow_expression_would_be_found():
    slow = re.compile(r"\s+$")
    assert list(slow_pieces(slow.search, [" ", "a"], 400)) == [" "]
