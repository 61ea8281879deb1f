"""Scores of captions: BLEU-4, ROUGE-L and CIDEr-D as pycocoevalcap computes them, and the precision of facts.

The texts are compared as words between blanks: name the normaliser beside the scores. pycocoevalcap itself cuts words
with Stanford's PTB tokenizer, drops punctuation and lowers case, for which "basic" stands here.

References: Papineni et al. 2002, BLEU; Lin and Och 2004, Automatic Evaluation of Machine Translation Quality Using
Longest Common Subsequence (ROUGE-L); Vedantam et al. 2015, CIDEr, with the clipping and the Gaussian of lengths of
CIDEr-D; Chen et al. 2015, Microsoft COCO Captions (the constants of the evaluation server).

Shapes: U pictures, S resamples.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from omnifuse.data.normalisers import as_text, normaliser
from omnifuse.errors import InputError
from omnifuse.evaluation.intervals import Interval
from omnifuse.evaluation.transcripts import rate_interval

NUM_GRAMS = 4
# Width of the Gaussian of the difference in lengths, and what the similarity is multiplied with
CIDER_SIGMA, CIDER_SCALE = 6.0, 10.0
ROUGE_BETA = 1.2
# So that a score without any match is 0 instead of undefined; the very numbers of pycocoevalcap
_TINY, _SMALL = 1e-15, 1e-9

Gram = tuple[str, ...]


@dataclass(frozen=True)
class CaptionScores:
    """Scores of captions.

    Attributes:
        normaliser: Name of the text normaliser.
        bleu: BLEU-1 to BLEU-4 of all captions together.
        rouge_l: Mean over pictures, with its 95% interval over pictures.
        cider_d: The same; the frequencies of n-grams stay those of all references.
        each_rouge_l: (U,) of each picture.
        each_cider_d: (U,) of each picture.
    """

    normaliser: str
    bleu: tuple[float, float, float, float]
    rouge_l: Interval
    cider_d: Interval
    each_rouge_l: np.ndarray
    each_cider_d: np.ndarray


def score_captions(
    references: Sequence[Sequence[object]], answers: Sequence[object], *, normalise: str = "basic", seed: int = 0
) -> CaptionScores:
    """Compare captions with one or more references each.

    Args:
        references: Of each picture its texts; at least one each.
        answers: U texts; None counts as empty.
        normalise: Name of a normaliser, applied to all.
        seed: Of the resamples.

    Raises:
        InputError: There are not as many captions as pictures, or a picture has no reference.
    """
    written = normaliser(normalise)
    given = [written(as_text("" if answer is None else answer)).split() for answer in answers]
    wanted = [[written(as_text(text)).split() for text in texts] for texts in references]
    _check(wanted, given)
    common, weighted = rouge_l(wanted, given), cider_d(wanted, given)
    return CaptionScores(normalise, bleu(wanted, given), _mean(common, seed), _mean(weighted, seed), common, weighted)


def _mean(values: np.ndarray, seed: int) -> Interval:
    return rate_interval(np.stack([values, np.ones(len(values))], axis=1), seed=seed)


def _check(references: Sequence[Sequence[Sequence[str]]], answers: Sequence[Sequence[str]]) -> None:
    if len(references) != len(answers):
        raise InputError(f"{len(answers)} captions are not of {len(references)} pictures")
    empty = next((row for row, texts in enumerate(references) if not texts), None)
    if empty is not None:
        raise InputError("a picture has no reference caption", where=f"row {empty}", fix="Leave it out")


def grams_of(words: Sequence[str], num: int = NUM_GRAMS) -> Counter[Gram]:
    """Runs of 1 to `num` words with how often they occur."""
    return Counter(
        tuple(words[at : at + length]) for length in range(1, num + 1) for at in range(len(words) - length + 1)
    )


def bleu(
    references: Sequence[Sequence[Sequence[str]]], answers: Sequence[Sequence[str]]
) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4 of all captions together, against the reference whose length is closest.

    Args:
        references: Of each picture its texts as words.
        answers: U captions as words.

    Example:
        >>> [round(value, 3) for value in bleu([["a red car on the road".split()]], ["a red car on a road".split()])]
        [0.833, 0.707, 0.63, 0.537]
    """
    one, two, three, four = bleu_of(bleu_sums(references, answers).sum(axis=0)[:, None])[:, 0].tolist()
    return one, two, three, four


def bleu_sums(references: Sequence[Sequence[Sequence[str]]], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """What each caption adds to BLEU: float64 (U, 10): right n-grams, given n-grams, own length, that of the reference.

    Args:
        references: Of each picture its texts as words.
        answers: U captions as words.
    """
    _check(references, answers)
    sums = np.zeros((len(answers), 2 * NUM_GRAMS + 2))
    for row, texts, words in zip(sums, references, answers, strict=True):
        most: Counter[Gram] = Counter()
        for text in texts:
            most |= grams_of(text)
        for gram, count in grams_of(words).items():
            row[len(gram) - 1] += min(count, most[gram])
        row[NUM_GRAMS : 2 * NUM_GRAMS] = [max(0, len(words) - size) for size in range(NUM_GRAMS)]
        row[-2:] = len(words), min((abs(len(text) - len(words)), len(text)) for text in texts)[1]
    return sums


def bleu_of(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 (4, S) of added sums (10, S) of `bleu_sums`."""
    shares = (sums[:NUM_GRAMS] + _TINY) / (sums[NUM_GRAMS : 2 * NUM_GRAMS] + _SMALL)
    ratio = (sums[-2] + _TINY) / (sums[-1] + _SMALL)
    # The penalty of captions that are too short; nothing at all has none of any n-gram
    brevity = np.exp(np.clip(1 - 1 / ratio, -700.0, 0.0))
    powers = 1 / np.arange(1, NUM_GRAMS + 1)[:, None]
    return np.asarray(np.cumprod(shares, axis=0) ** powers * brevity)


def rouge_l(references: Sequence[Sequence[Sequence[str]]], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """ROUGE-L (U,) of each caption: the best precision and the best recall of all references, beta 1.2.

    Args:
        references: Of each picture its texts as words.
        answers: U captions as words.
    """
    _check(references, answers)
    scores = []
    for texts, words in zip(references, answers, strict=True):
        common = [_longest_common(text, words) for text in texts]
        precision = max(common) / max(1, len(words))
        recall = max(count / max(1, len(text)) for count, text in zip(common, texts, strict=True))
        weight = ROUGE_BETA**2
        both = recall + weight * precision
        scores.append((1 + weight) * precision * recall / both if precision and recall else 0.0)
    return np.array(scores)


def _longest_common(one: Sequence[str], two: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    lengths = [0] * (len(two) + 1)
    for word in one:
        before = 0
        for at, other in enumerate(two, start=1):
            kept = lengths[at]
            lengths[at] = before + 1 if word == other else max(kept, lengths[at - 1])
            before = kept
    return lengths[-1]


def cider_d(references: Sequence[Sequence[Sequence[str]]], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr-D (U,) of each caption, 0 to 10.

    Weights of n-grams come from the number of pictures whose references hold them. With a single picture every weight
    is 0, and so is the score.

    Args:
        references: Of each picture its texts as words.
        answers: U captions as words.
    """
    _check(references, answers)
    pictures: Counter[Gram] = Counter()
    counted = [[grams_of(text) for text in texts] for texts in references]
    for grams in counted:
        pictures.update(set().union(*grams))
    total = math.log(len(references)) if references else 0.0
    weights: dict[Gram, float] = defaultdict(lambda: total)
    weights.update({gram: total - math.log(count) for gram, count in pictures.items()})
    scores = []
    for grams, words in zip(counted, answers, strict=True):
        own = _vectors(grams_of(words), weights)
        found = [_similarity(own, _vectors(other, weights)) for other in grams]
        scores.append(CIDER_SCALE * sum(found) / len(found))
    return np.array(scores)


@dataclass(frozen=True)
class _Vectors:
    """Weighted counts of n-grams by their length, the lengths of these vectors, and the number of pairs of words."""

    values: tuple[dict[Gram, float], ...]
    norms: tuple[float, ...]
    pairs: int


def _vectors(grams: Counter[Gram], weights: dict[Gram, float]) -> _Vectors:
    values: tuple[dict[Gram, float], ...] = tuple({} for _ in range(NUM_GRAMS))
    for gram, count in grams.items():
        values[len(gram) - 1][gram] = count * weights[gram]
    norms = tuple(math.sqrt(sum(value**2 for value in one.values())) for one in values)
    # As in pycocoevalcap, the length of a text is its number of pairs of words
    return _Vectors(values, norms, sum(count for gram, count in grams.items() if len(gram) == 2))


def _similarity(own: _Vectors, other: _Vectors) -> float:
    """Mean over lengths of n-grams of the clipped cosine, less for texts of another length."""
    total = 0.0
    for ours, theirs, one, two in zip(own.values, other.values, own.norms, other.norms, strict=True):
        product = sum(min(value, theirs[gram]) * theirs[gram] for gram, value in ours.items() if gram in theirs)
        if one and two:
            total += product / (one * two)
    return total / NUM_GRAMS * math.exp(-((own.pairs - other.pairs) ** 2) / (2 * CIDER_SIGMA**2))


@dataclass(frozen=True)
class FactScores:
    """How true captions are where the truth is known as facts.

    Attributes:
        precision: Share of the facts said that are true.
        recall: Share of the true facts that are said.
        exact: Share of captions that say just the true facts.
    """

    precision: Interval
    recall: Interval
    exact: Interval


def score_facts(
    truth: Sequence[Collection[Hashable]], said: Sequence[Collection[Hashable]], *, seed: int = 0
) -> FactScores:
    """Compare what captions say with what is there, such as ("count", "red", "disc", 2).

    Args:
        truth: Of each picture its facts; repeated facts count as often as they stand there.
        said: Of each caption its facts.
        seed: Of the resamples.

    Raises:
        InputError: There are not as many captions as pictures.
    """
    if len(truth) != len(said):
        raise InputError(f"{len(said)} captions are not of {len(truth)} pictures")
    pairs = [(Counter(one), Counter(two)) for one, two in zip(truth, said, strict=True)]
    common = [(one & two).total() for one, two in pairs]
    columns = {
        "precision": [two.total() for _, two in pairs],
        "recall": [one.total() for one, _ in pairs],
    }
    found = {
        name: rate_interval(np.array([common, counts], np.float64).T.reshape(-1, 2), seed=seed)
        for name, counts in columns.items()
    }
    exact = np.array([[one == two, 1] for one, two in pairs], np.float64).reshape(-1, 2)
    return FactScores(found["precision"], found["recall"], rate_interval(exact, seed=seed))
