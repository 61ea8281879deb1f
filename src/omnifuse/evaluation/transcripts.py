"""Word and character error rates of transcripts: which words were wrong, in which utterances, and how sure the rate is.

References: Bisani and Ney 2004, Bootstrap Estimates for Confidence Intervals in ASR Performance Evaluation (resampling
whole utterances; the paired difference).

Shapes: U utterances, S resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.data.normalisers import as_text, normaliser
from omnifuse.errors import InputError
from omnifuse.evaluation.edit_alignment import ErrorCounts, count_errors
from omnifuse.evaluation.intervals import CHUNK_CELLS, Interval

RESAMPLES = 2000


@dataclass(frozen=True)
class Utterance:
    """One utterance with its errors.

    Attributes:
        row: Its number.
        reference: Normalised.
        answer: Normalised.
        words: Counts of words.
        characters: Counts of characters.
    """

    row: int
    reference: str
    answer: str
    words: ErrorCounts
    characters: ErrorCounts


@dataclass(frozen=True)
class TranscriptScores:
    """Error rates of some transcripts.

    Attributes:
        normaliser: Name of the text normaliser, without which the rates mean nothing.
        word_error_rate: With its 95% interval.
        character_error_rate: The same.
        exact: Share of utterances without an error.
        utterances: All of them, in the order given.
    """

    normaliser: str
    word_error_rate: Interval
    character_error_rate: Interval
    exact: Interval
    utterances: tuple[Utterance, ...]

    @property
    def words(self) -> ErrorCounts:
        """Counts of words of all utterances."""
        return sum((item.words for item in self.utterances), ErrorCounts())

    @property
    def characters(self) -> ErrorCounts:
        """Counts of characters of all utterances."""
        return sum((item.characters for item in self.utterances), ErrorCounts())

    def worst(self, num: int = 10) -> list[Utterance]:
        """Utterances with the most errors of words, those with errors alone; of equal ones the shorter first."""
        wrong = [item for item in self.utterances if item.words.errors]
        return sorted(wrong, key=lambda item: (-item.words.errors, item.words.length, item.row))[:num]

    def to_json(self, num_worst: int = 10) -> dict[str, Any]:
        """Plain JSON values."""
        words = self.words
        return {
            "normaliser": self.normaliser,
            "word_error_rate": dict(self.word_error_rate),
            "character_error_rate": dict(self.character_error_rate),
            "exact": dict(self.exact),
            "words": words.length,
            "substitutions": words.substitutions,
            "deletions": words.deletions,
            "insertions": words.insertions,
            "worst": [
                {"row": item.row, "reference": item.reference, "answer": item.answer, "errors": item.words.errors}
                for item in self.worst(num_worst)
            ],
        }


def score_transcripts(
    references: Sequence[object],
    answers: Sequence[object],
    *,
    normalise: str = "basic",
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> TranscriptScores:
    """Compare transcripts with what was said.

    Args:
        references: U texts; an utterance whose reference is None is left out.
        answers: U texts; None counts as empty.
        normalise: Name of a normaliser, applied to both.
        seed: Of the resamples.
        groups: (U,) such as speakers; whole groups are drawn where given.

    Raises:
        InputError: There are not as many answers as references.
    """
    if len(references) != len(answers):
        raise InputError(f"{len(answers)} transcripts are not of {len(references)} utterances")
    written = normaliser(normalise)
    utterances = []
    for row, (reference, answer) in enumerate(zip(references, answers, strict=True)):
        if reference is None:
            continue
        one, two = written(as_text(reference)), written(as_text("" if answer is None else answer))
        words = count_errors(one.split(), two.split())
        utterances.append(Utterance(row, one, two, words, count_errors(one, two)))
    rows = [item.row for item in utterances]
    units = None if groups is None else np.asarray(groups)[rows]
    exact = np.array([[item.words.errors == 0, 1] for item in utterances], np.float64).reshape(-1, 2)
    return TranscriptScores(
        normalise,
        rate_interval(_sums([item.words for item in utterances]), seed=seed, groups=units),
        rate_interval(_sums([item.characters for item in utterances]), seed=seed, groups=units),
        rate_interval(exact, seed=seed, groups=units),
        tuple(utterances),
    )


def _sums(counts: Sequence[ErrorCounts]) -> np.ndarray:
    """float64 (U, 2): errors and lengths."""
    return np.array([[one.errors, one.length] for one in counts], np.float64).reshape(-1, 2)


def _by_group(sums: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    if groups is None or not len(sums):
        return sums
    codes = np.unique(groups, return_inverse=True)[1]
    return np.stack([np.bincount(codes, weights=column) for column in sums.T], axis=1)


def _resampled(sums: np.ndarray, seed: int) -> np.ndarray:
    """(S, K) sums over utterances drawn with replacement."""
    random = np.random.default_rng(seed)
    parts = []
    width = max(1, CHUNK_CELLS // max(1, len(sums)))
    for start in range(0, RESAMPLES, width):
        drawn = random.integers(0, len(sums), (min(width, RESAMPLES - start), len(sums)))
        parts.append(sums[drawn].sum(axis=1))
    return np.concatenate(parts)


def rate_interval(sums: np.ndarray, *, seed: int = 0, groups: np.ndarray | None = None) -> Interval:
    """A ratio of sums over utterances with its 95% bootstrap interval.

    Args:
        sums: (U, 2) what each adds to numerator and denominator.
        seed: Of the resamples.
        groups: (U,) whole groups are drawn where given.

    Returns:
        None where the denominator is 0; no interval with fewer than two units.
    """
    units = _by_group(np.asarray(sums, np.float64), groups)
    total = units.sum(axis=0)
    if not len(units) or total[1] == 0:
        return {"value": None, "low": None, "high": None}
    value = float(total[0] / total[1])
    if len(units) < 2:
        return {"value": value, "low": None, "high": None}
    low, high = _percentiles(_ratios(_resampled(units, seed)), value)
    return {"value": value, "low": low, "high": high}


def _ratios(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[:, 0][sums[:, 1] > 0] / sums[:, 1][sums[:, 1] > 0])


def _percentiles(values: np.ndarray, value: float) -> tuple[float | None, float | None]:
    """Percentiles 2.5 and 97.5, widened to hold the value."""
    if not len(values):
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return min(float(low), value), max(float(high), value)


@dataclass(frozen=True)
class RateDifference:
    """Word error rate of the first transcripts less that of the second, negative where the first are better.

    Attributes:
        difference: None without words.
        low: Of its 95% bootstrap interval over utterances.
        high: The same.
        p: Two-sided share of random swaps of both transcripts of an utterance with a difference at least as large.
    """

    difference: float | None
    low: float | None
    high: float | None
    p: float | None


def compare_transcripts(
    first: TranscriptScores, second: TranscriptScores, *, seed: int = 0, swaps: int = 5000
) -> RateDifference:
    """Compare two transcripts of the same utterances, which are drawn and swapped in pairs.

    Args:
        first: Scores that may be better.
        second: Those they are held against.
        seed: Of resamples and swaps.
        swaps: Number of random swaps.

    Raises:
        InputError: They are not of the same utterances.
    """
    if [(item.row, item.reference) for item in first.utterances] != [
        (item.row, item.reference) for item in second.utterances
    ]:
        raise InputError("the transcripts are not of the same utterances", fix="Normalise and score both alike")
    errors = np.array(
        [[one.words.errors, two.words.errors] for one, two in zip(first.utterances, second.utterances, strict=True)],
        np.float64,
    ).reshape(-1, 2)
    lengths = np.array([item.words.length for item in first.utterances], np.float64)
    if not lengths.sum():
        return RateDifference(None, None, None, None)
    change = errors[:, 0] - errors[:, 1]
    value = float(change.sum() / lengths.sum())
    low, high = _percentiles(_ratios(_resampled(np.stack([change, lengths], axis=1), seed)), value)
    random = np.random.default_rng(seed)
    signs = np.zeros(swaps)
    moved = change[change != 0]
    for start in range(0, swaps, 500):
        count = min(500, swaps - start)
        signs[start : start + count] = (random.integers(0, 2, (count, len(moved))) * 2 - 1) @ moved
    extreme = int((np.abs(signs) >= abs(change.sum()) - 1e-9).sum())
    return RateDifference(value, low, high, (1 + extreme) / (1 + swaps))
