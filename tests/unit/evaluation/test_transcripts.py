"""Error rates: alignments by hand and by search, corpus rates, worst utterances, intervals and paired differences."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.evaluation import edit_alignment, transcripts
from omnifuse.evaluation.edit_alignment import ErrorCounts, align_words, count_errors
from omnifuse.evaluation.transcripts import compare_transcripts, score_transcripts


def distance(one, two):
    """Levenshtein's definition."""

    @lru_cache(None)
    def least(left, right):
        if not left or not right:
            return left + right
        same = one[left - 1] == two[right - 1]
        return min(least(left - 1, right) + 1, least(left, right - 1) + 1, least(left - 1, right - 1) + (not same))

    return least(len(one), len(two))


def test_alignments_have_the_fewest_errors():
    random = np.random.default_rng(0)
    for _ in range(150):
        one, two = ([str(letter) for letter in random.choice(list("abc"), random.integers(0, 9))] for _ in range(2))
        edits = align_words(one, two)
        assert [edit.reference for edit in edits if edit.reference is not None] == one
        assert [edit.answer for edit in edits if edit.answer is not None] == two
        for edit in edits:
            kind = "deletion" if edit.answer is None else "insertion" if edit.reference is None else None
            assert edit.kind == (kind or ("hit" if edit.reference == edit.answer else "substitution"))
        counts = count_errors(one, two)
        assert counts.errors == distance(one, two) == sum(edit.kind != "hit" for edit in edits)
        assert counts.length == len(one)


@pytest.mark.parametrize(
    ("reference", "answer", "counts"),
    [
        ("the red car", "the red car", (3, 0, 0, 0)),
        ("the red car", "the car", (2, 0, 1, 0)),
        ("the red car", "the very red car", (3, 0, 0, 1)),
        ("the red car", "a red cat", (1, 2, 0, 0)),
        ("the red car", "", (0, 0, 3, 0)),
        ("", "the red", (0, 0, 0, 2)),
        ("", "", (0, 0, 0, 0)),
    ],
)
def test_counts_by_hand(reference, answer, counts):
    assert count_errors(reference.split(), answer.split()) == ErrorCounts(*counts)


def test_rates_are_of_all_words_together():
    references = ["the red car", "stop", "Yes, it's here!", None]
    answers = ["the car", "stop now", "yes it's here", "ignored"]
    found = score_transcripts(references, answers)
    assert found.words == ErrorCounts(hits=6, deletions=1, insertions=1)
    assert found.word_error_rate["value"] == pytest.approx(2 / 7)
    # "the red car" lacks four characters, "stop" has four too many; 11 + 4 + 13 were said
    assert found.character_error_rate["value"] == pytest.approx(8 / 28)
    assert found.exact["value"] == pytest.approx(1 / 3)
    assert [item.row for item in found.worst()] == [1, 0]
    assert found.to_json()["worst"][0] == {"row": 1, "reference": "stop", "answer": "stop now", "errors": 1}
    assert found.to_json()["normaliser"] == "basic"
    assert score_transcripts(references, answers, normalise="none").words.errors == 4


def test_silence_and_nothing():
    found = score_transcripts(["", "a b"], ["x", None])
    assert found.word_error_rate["value"] == 1.5
    assert ErrorCounts(insertions=3).rate is None
    assert score_transcripts([], []).word_error_rate == {"value": None, "low": None, "high": None}
    assert score_transcripts([""], ["a"]).word_error_rate["value"] is None
    only = score_transcripts(["a"], ["a"])
    assert (only.word_error_rate["value"], only.word_error_rate["low"]) == (0, None)


def noisy(num, share, seed, length=8):
    random = np.random.default_rng(seed)
    references = [" ".join(random.choice(list("abcdefgh"), length)) for _ in range(num)]
    answers = [
        " ".join("x" if random.random() < share else word for word in reference.split()) for reference in references
    ]
    return references, answers


def test_intervals_hold_the_true_rate_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(transcripts, "RESAMPLES", 500)
    inside = 0
    for seed in range(100):
        found = score_transcripts(*noisy(40, 0.1, seed)).word_error_rate
        inside += found["low"] <= 0.1 <= found["high"]
    assert 87 <= inside <= 100


def test_whole_groups_are_drawn(monkeypatch):
    monkeypatch.setattr(transcripts, "RESAMPLES", 500)
    references = ["a b c d"] * 100
    answers = ["a b c d"] * 50 + ["x x x x"] * 50
    alone = score_transcripts(references, answers).word_error_rate
    groups = np.repeat(np.arange(10), 10)
    together = score_transcripts(references, answers, groups=groups).word_error_rate
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])


def test_paired_differences():
    references, good = noisy(200, 0.05, 0)
    bad = [" ".join("y" if number % 7 == 0 else word for number, word in enumerate(text.split())) for text in good]
    first, second = score_transcripts(references, good), score_transcripts(references, bad)
    found = compare_transcripts(first, second)
    assert found.difference == pytest.approx(first.word_error_rate["value"] - second.word_error_rate["value"])
    assert found.low <= found.difference <= found.high < 0
    assert found.p < 0.001
    same = compare_transcripts(first, first)
    assert (same.difference, same.p) == (0, 1)
    # Two systems that are equally good
    _, other = noisy(200, 0.05, 1)
    mixed = [" ".join(two if two == "x" else one for one, two in zip(a.split(), b.split(), strict=True))
             for a, b in zip(references, other, strict=True)]  # fmt: skip
    rival = compare_transcripts(first, score_transcripts(references, mixed))
    assert rival.low < 0 < rival.high
    assert rival.p > 0.05
    empty = score_transcripts([], [])
    assert compare_transcripts(empty, empty).difference is None


def test_bad_input_is_refused(monkeypatch):
    with pytest.raises(InputError, match="1 transcripts are not of 2 utterances"):
        score_transcripts(["a", "b"], ["a"])
    with pytest.raises(InputError, match="not of the same utterances"):
        compare_transcripts(score_transcripts(["a"], ["a"]), score_transcripts(["b"], ["a"]))
    monkeypatch.setattr(edit_alignment, "MAX_CELLS", 100)
    with pytest.raises(InputError, match="too long to be compared"):
        count_errors(list("abc" * 10), list("abx" * 10))
