"""N-gram language model of word or character sequences: interpolated modified Kneser-Ney, small enough to live beside
a model and quick enough to be asked at each frame of a beam search.

A model is a table of n-grams with the logarithm of their probability and of the mass that their continuations leave to
shorter contexts. Words never seen share one probability, that of `UNKNOWN`.

References: Chen and Goodman 1998, An Empirical Study of Smoothing Techniques for Language Modeling (equations 26 and
27, section 3); Heafield et al. 2013, Scalable Modified Kneser-Ney Language Model Estimation (adjusted counts, the
unigrams' interpolation with the uniform distribution).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from omnifuse.errors import InputError

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
# What a probability of 0 is written as, here and in ARPA files
NEVER = -99.0 * math.log(10.0)
MOST_ORDERS = 8
# Where counts are too few to estimate the discounts of n-grams seen once, twice and more often
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)

Context = tuple[int, ...]


@dataclass(frozen=True)
class NgramModel:
    """Probabilities of the next token given those before it.

    Attributes:
        vocabulary: Tokens in the order of their ids: `UNKNOWN`, `START`, `END`, then the others.
        order: Longest n-gram.
        logs: N-gram of ids to natural logarithm of the probability of its last token given the others.
        backoffs: Context to natural logarithm of the mass that it leaves to the context without its first token; a
            context that is absent leaves all.
    """

    vocabulary: tuple[str, ...]
    order: int
    logs: dict[Context, float]
    backoffs: dict[Context, float]
    _rows: dict[Context, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.vocabulary[:3] != (UNKNOWN, START, END):
            raise InputError(f"the vocabulary starts with {self.vocabulary[:3]}, expected {(UNKNOWN, START, END)}")
        if not 1 <= self.order <= MOST_ORDERS:
            raise InputError(f"the order is {self.order}", fix=f"Give 1 to {MOST_ORDERS}")

    @classmethod
    def fit(cls, sequences: Iterable[Sequence[str]], *, order: int = 3) -> NgramModel:
        """Count and smooth.

        Args:
            sequences: Sentences as tokens (words, characters or pieces), without start and end.
            order: Longest n-gram, 1 to 8; 3 for words, 5 to 6 for characters.

        Returns:
            The same sequences give the same model.

        Raises:
            InputError: There is no sequence, or the order is out of range.

        Example:
            >>> model = NgramModel.fit([["a", "red", "car"], ["a", "blue", "car"]], order=2)
            >>> model.log_probability(["a", "red", "car"]) > model.log_probability(["car", "red", "a"])
            True
        """
        if not 1 <= order <= MOST_ORDERS:
            raise InputError(f"the order is {order}", fix=f"Give 1 to {MOST_ORDERS}")
        sentences = [[token for token in sentence if token not in (UNKNOWN, START, END)] for sentence in sequences]
        if not sentences:
            raise InputError("a language model needs at least one text", fix="Give the transcripts of training rows")
        seen = sorted({token for sentence in sentences for token in sentence})
        vocabulary = (UNKNOWN, START, END, *seen)
        index = {token: number for number, token in enumerate(vocabulary)}
        coded = [[1, *(index[token] for token in sentence), 2] for sentence in sentences]
        counts = _adjusted_counts(coded, order)
        return _smoothed(vocabulary, counts)

    @cached_property
    def index(self) -> dict[str, int]:
        """Token to id."""
        return {token: number for number, token in enumerate(self.vocabulary)}

    def id_of(self, token: str) -> int:
        """Id of a token; that of `UNKNOWN` where it was never seen."""
        return self.index.get(token, 0)

    @property
    def start(self) -> Context:
        """The context at the beginning of a sentence."""
        return (1,) if self.order > 1 else ()

    def score(self, context: Context, token: int) -> float:
        """Natural logarithm of the probability of a token id after a context of ids (the last ones count)."""
        total = 0.0
        context = context[max(0, len(context) - self.order + 1) :]
        while True:
            found = self.logs.get((*context, token))
            if found is not None:
                return total + found
            if not context:
                return total + NEVER
            total += self.backoffs.get(context, 0.0)
            context = context[1:]

    def after(self, context: Context, token: int) -> Context:
        """The context after one more token: no longer than what the model can tell apart."""
        longer = (*context, token)
        longer = longer[max(0, len(longer) - self.order + 1) :]
        while longer and longer not in self.backoffs:
            longer = longer[1:]
        return longer

    def scores(self, context: Context) -> np.ndarray:
        """Natural logarithms float64 (V,) of the probabilities of every token id after a context; read only."""
        context = context[max(0, len(context) - self.order + 1) :]
        row = self._rows.get(context)
        if row is None:
            if context:
                row = self.scores(context[1:]) + self.backoffs.get(context, 0.0)
            else:
                row = np.full(len(self.vocabulary), NEVER)
            tokens, values = self._continuations.get(context, _NOTHING)
            row[tokens] = values
            row.setflags(write=False)
            # 32 MB of rows at most
            if len(self._rows) * len(row) > 4_000_000:
                self._rows.clear()
            self._rows[context] = row
        return row

    def log_probability(self, sentence: Sequence[str]) -> float:
        """Natural logarithm of the probability of a sentence, its end included."""
        context, total = self.start, 0.0
        for token in [*map(self.id_of, sentence), 2]:
            total += self.score(context, token)
            context = self.after(context, token)
        return total

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Per token, ends of sentences and unknown tokens included; infinite without any."""
        total, count = 0.0, 0
        for sentence in sentences:
            total += self.log_probability(sentence)
            count += len(sentence) + 1
        return math.exp(min(-total / count, 700.0)) if count else math.inf

    @cached_property
    def _continuations(self) -> dict[Context, tuple[np.ndarray, np.ndarray]]:
        """Context to the tokens seen behind it and their logarithms."""
        found: dict[Context, list[tuple[int, float]]] = defaultdict(list)
        for ngram, value in self.logs.items():
            found[ngram[:-1]].append((ngram[-1], value))
        return {
            context: (np.array([token for token, _ in pairs]), np.array([value for _, value in pairs]))
            for context, pairs in found.items()
        }


_NOTHING = (np.zeros(0, np.int64), np.zeros(0))


def _adjusted_counts(sentences: Iterable[Sequence[int]], order: int) -> list[Counter[Context]]:
    """Of each length of n-gram: how often it occurs where it has the full length or starts a sentence, and else the
    number of different tokens that were seen before it.
    """
    highest: Counter[Context] = Counter()
    starts: Counter[Context] = Counter()
    for sentence in sentences:
        for end in range(2, len(sentence) + 1):
            if end >= order:
                highest[tuple(sentence[end - order : end])] += 1
            for begin in range(max(0, end - order), end):
                if begin == 0 and end - begin < order:
                    starts[tuple(sentence[begin:end])] += 1
    counts = [highest]
    for length in range(order - 1, 0, -1):
        shorter: Counter[Context] = Counter()
        for ngram in counts[0]:
            shorter[ngram[1:]] += 1
        shorter.update({ngram: count for ngram, count in starts.items() if len(ngram) == length})
        counts.insert(0, shorter)
    # The start of a sentence is never predicted
    counts[0].pop((1,), None)
    return counts


def _discounts(counts: Counter[Context]) -> tuple[float, float, float]:
    """What is taken from counts of 1, 2 and more; the usual ones where too few n-grams tell."""
    times = Counter(min(count, 5) for count in counts.values())
    if not all(times[number] for number in (1, 2, 3, 4)):
        return _USUAL_DISCOUNTS
    share = times[1] / (times[1] + 2 * times[2])
    found = [number - (number + 1) * share * times[number + 1] / times[number] for number in (1, 2, 3)]
    if any(not 0 <= discount <= number for number, discount in enumerate(found, start=1)):
        return _USUAL_DISCOUNTS
    return found[0], found[1], found[2]


def _smoothed(vocabulary: tuple[str, ...], counts: Sequence[Counter[Context]]) -> NgramModel:
    probabilities: dict[Context, float] = {}
    backoffs: dict[Context, float] = {}
    # Every token but the start is possible
    uniform = 1.0 / (len(vocabulary) - 1)
    for length, ngrams in enumerate(counts, start=1):
        discounts = _discounts(ngrams)
        totals: Counter[Context] = Counter()
        left: dict[Context, float] = defaultdict(float)
        for ngram, count in ngrams.items():
            totals[ngram[:-1]] += count
            left[ngram[:-1]] += discounts[min(count, 3) - 1]
        for ngram, count in ngrams.items():
            context = ngram[:-1]
            lower = uniform if length == 1 else probabilities[ngram[1:]]
            kept = count - discounts[min(count, 3) - 1]
            probabilities[ngram] = (kept + left[context] * lower) / totals[context]
        if length == 1:
            probabilities[(0,)] = left[()] / totals[()] * uniform
        else:
            backoffs.update({context: math.log(mass / totals[context]) for context, mass in left.items()})
    logs = {ngram: math.log(value) for ngram, value in sorted(probabilities.items())}
    return NgramModel(vocabulary, len(counts), logs, dict(sorted(backoffs.items())))
