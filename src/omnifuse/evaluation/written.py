"""Scores of texts that were written, with intervals. Shapes: R rows, K known rows, S weightings of them.

Each measure is a function of weights, as in `evaluation.metrics`, so that a ratio of sums over rows (errors over words,
say) gets its interval like any other score. `MEASURES` is the one place where measures of a task are named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from omnifuse.data.normalisers import normaliser
from omnifuse.evaluation.captions import bleu_of, bleu_sums, cider_d, rouge_l
from omnifuse.evaluation.edit_alignment import count_errors
from omnifuse.evaluation.intervals import Interval, bootstrapped
from omnifuse.evaluation.metrics import Measure
from omnifuse.evaluation.transcripts import score_transcripts
from omnifuse.schema import TaskKind

# What is done to truths and answers before words are compared; a score of words means nothing without its name
NORMALISER = "basic"
NUM_WORST = 10
# References (one or more texts a row) and answers of K rows to the scores as a function of weights (K, S)
TextMeasure = Callable[[Sequence[Sequence[str]], Sequence[str]], Measure]


def exact_match(references: Sequence[Sequence[str]], answers: Sequence[str]) -> Measure:
    """The share of texts that are a reference to the letter."""
    same = [answer in truths for truths, answer in zip(references, answers, strict=True)]
    return _means({"exact_match": np.array(same, np.float64)})


def error_rates(references: Sequence[Sequence[str]], answers: Sequence[str]) -> Measure:
    """Errors over words, and over characters, of the first reference; not defined without words."""
    written = normaliser(NORMALISER)
    pairs = [(written(truths[0]), written(answer)) for truths, answer in zip(references, answers, strict=True)]
    words = [count_errors(truth.split(), answer.split()) for truth, answer in pairs]
    letters = [count_errors(truth, answer) for truth, answer in pairs]
    sums = {
        name: np.array([[one.errors, one.length] for one in counts], np.float64).reshape(-1, 2)
        for name, counts in (("word_error_rate", words), ("character_error_rate", letters))
    }

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = {name: own.T @ weights for name, own in sums.items()}
        return {name: _ratio(errors, length) for name, (errors, length) in found.items()}

    return measure


def caption_scores(references: Sequence[Sequence[str]], answers: Sequence[str]) -> Measure:
    """CIDEr-D, BLEU-4 and ROUGE-L; how rare an n-gram is stays as all references say, whatever the weights."""
    written = normaliser(NORMALISER)
    wanted = [[written(text).split() for text in texts] for texts in references]
    given = [written(answer).split() for answer in answers]
    sums = bleu_sums(wanted, given)
    mean = _means({"cider_d": cider_d(wanted, given), "rouge_l": rouge_l(wanted, given)})

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = mean(weights)
        bleu = np.where(weights.sum(axis=0) > 0, bleu_of(sums.T @ weights)[-1], np.nan)
        return {"cider_d": found["cider_d"], "bleu_4": bleu, "rouge_l": found["rouge_l"]}

    return measure


def _means(values: dict[str, np.ndarray]) -> Measure:
    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=0)
        return {name: _ratio(each @ weights, total) for name, each in values.items()}

    return measure


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where the whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1e-12), np.nan)


# Of each task, the measures of its texts; the first score of the first one leads
MEASURES: dict[TaskKind, tuple[TextMeasure, ...]] = {
    TaskKind.CAPTIONING: (caption_scores, exact_match),
    TaskKind.TRANSCRIPTION: (error_rates, exact_match),
    TaskKind.ANSWERING: (exact_match,),
}


def written_scores(
    kind: TaskKind,
    truths: Sequence[str | None],
    answers: Sequence[str],
    *,
    seed: int = 0,
    groups: np.ndarray | None = None,
    shown: Sequence[Any] | None = None,
) -> dict[str, Interval]:
    """Score texts.

    Args:
        kind: A task that writes.
        truths: R texts, None where missing.
        answers: R texts.
        seed: Of the bootstrap.
        groups: (R,) codes of groups that are drawn whole.
        shown: R signs of what each row shows; the truths of rows that show the same are references of each of them.

    Returns:
        Metric to its value and 95% interval.

    Example:
        >>> found = written_scores(TaskKind.ANSWERING, ["a cat", None, "a dog"], ["a cat", "", "a cat"])
        >>> found["exact_match"]["value"]
        0.5
    """
    known = np.array([truth is not None for truth in truths], bool)
    references = references_of(truths, shown)
    written = [answer for answer, there in zip(answers, known, strict=True) if there]
    found: dict[str, Interval] = {}
    for part in MEASURES[kind]:
        found |= bootstrapped(part(references, written), known, seed=seed, groups=groups)
    return found


def references_of(truths: Sequence[str | None], shown: Sequence[Any] | None = None) -> list[tuple[str, ...]]:
    """Of each row with a truth its references, its own first.

    Args:
        truths: R texts, None where missing.
        shown: As for `written_scores`.

    Example:
        >>> references_of(["a cat", None, "two cats", "a dog"], [1, 1, 1, 2])
        [('a cat', 'two cats'), ('two cats', 'a cat'), ('a dog',)]
    """
    if shown is None:
        return [(truth,) for truth in truths if truth is not None]
    all_of: dict[Any, dict[str, None]] = defaultdict(dict)
    for truth, what in zip(truths, shown, strict=True):
        if truth is not None:
            all_of[what].setdefault(truth)
    return [
        tuple(dict.fromkeys((truth, *all_of[what])))
        for truth, what in zip(truths, shown, strict=True)
        if truth is not None
    ]


def written_details(
    kind: TaskKind, truths: Sequence[str | None], answers: Sequence[str], rows: Sequence[int]
) -> dict[str, Any]:
    """What stands beside the scores: the normaliser, and of transcripts each kind of error and the worst utterances.

    Args:
        kind: A task that writes.
        truths: R texts, None where missing.
        answers: R texts.
        rows: (R,) their numbers in the table.
    """
    if kind is not TaskKind.TRANSCRIPTION:
        return {"normaliser": NORMALISER} if kind is TaskKind.CAPTIONING else {}
    scores = score_transcripts(truths, answers, normalise=NORMALISER)
    counts = scores.words
    return {
        "normaliser": NORMALISER,
        "words": counts.length,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "worst": [
            {
                "row": int(rows[item.row]),
                "reference": item.reference,
                "answer": item.answer,
                "errors": item.words.errors,
                "words": item.words.length,
            }
            for item in scores.worst(NUM_WORST)
        ],
    }
