"""Modified Kneser-Ney against the formula written out, with counts looked up anew at each step."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.readout.ngram import NgramModel

LINES = """the red car stands before the red house
a blue car stands before the bus
the bus stands before a red house
she sees the red bus and the blue car
she sees a house
the car sees the bus
a red car and a blue bus and a car
the red car
the house""".splitlines()
SENTENCES = [line.split() for line in LINES]


class Written:
    """Chen and Goodman's equations, recursive, from the raw text; discounts after Heafield's fallback."""

    def __init__(self, sentences, order):
        self.text = [["<s>", *sentence, "</s>"] for sentence in sentences]
        self.order = order
        self.words = {word for line in self.text for word in line} - {"<s>"} | {"<unk>"}

    def occurs(self, ngram):
        width = len(ngram)
        return sum(tuple(line[at : at + width]) == ngram for line in self.text for at in range(len(line) - width + 1))

    def ngrams(self, length):
        return {tuple(line[at : at + length]) for line in self.text for at in range(len(line) - length + 1)} - {
            ("<s>",)
        }

    def count(self, ngram):
        if len(ngram) == self.order or ngram[0] == "<s>":
            return self.occurs(ngram)
        return sum(longer[1:] == ngram for longer in self.ngrams(len(ngram) + 1))

    def discounts(self, length):
        counts = [self.count(ngram) for ngram in self.ngrams(length)]
        n1, n2, n3, n4 = (sum(count == number for count in counts) for number in (1, 2, 3, 4))
        if not (n1 and n2 and n3 and n4):
            return 0.5, 1.0, 1.5
        y = n1 / (n1 + 2 * n2)
        found = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        good = all(0 <= value <= number for number, value in enumerate(found, 1))
        return found if good else (0.5, 1.0, 1.5)

    def probability(self, context, word):
        length = len(context) + 1
        lower = 1 / len(self.words) if not context else self.probability(context[1:], word)
        following = {ngram: self.count(ngram) for ngram in self.ngrams(length) if ngram[:-1] == context}
        if not following:
            return lower
        taken = self.discounts(length)
        total = sum(following.values())
        left = sum(taken[min(count, 3) - 1] for count in following.values()) / total
        own = following.get((*context, word), 0)
        return (own - taken[min(own, 3) - 1] if own else 0) / total + left * lower


@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_the_formula(order):
    model, written = NgramModel.fit(SENTENCES, order=order), Written(SENTENCES, order)
    contexts = [(), ("<s>",), ("the",), ("the", "red"), ("<s>", "the"), ("blue", "house"), ("never", "red")]
    for context in contexts:
        if len(context) >= order:
            continue
        for word in written.words:
            expected = written.probability(context, word)
            ours = model.score(tuple(model.id_of(token) for token in context), model.id_of(word))
            if word == "<unk>" or word in model.index:
                assert math.exp(ours) == pytest.approx(expected, rel=1e-12), (context, word)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one_behind_any_context(order):
    model = NgramModel.fit(SENTENCES, order=order)
    ids = range(len(model.vocabulary))
    for context in itertools.chain([()], itertools.product(ids, repeat=1), itertools.product(range(0, 9), repeat=2)):
        row = model.scores(context)
        assert np.exp(np.delete(row, 1)).sum() == pytest.approx(1.0, abs=1e-9)
        assert row.tolist() == pytest.approx([model.score(context, token) for token in ids], abs=1e-12)


def test_a_shortened_context_tells_the_same():
    model = NgramModel.fit(SENTENCES, order=3)
    full, short = model.start, model.start
    for word in ["she", "sees", "the", "never", "red", "car", "and", "the", "bus"]:
        token = model.id_of(word)
        full, short = (*full, token), model.after(short, token)
        assert len(short) <= 2
        assert model.scores(short).tolist() == pytest.approx(model.scores(full).tolist(), abs=1e-12)


def test_characters_and_tiny_texts():
    model = NgramModel.fit(["hello", "help", "held"], order=4)
    assert model.log_probability("help") > model.log_probability("pleh")
    assert NgramModel.fit([[]], order=3).log_probability([]) == pytest.approx(math.log(0.875))
    one = NgramModel.fit([["a"]], order=3)
    assert 0 < math.exp(one.log_probability(["b"])) < math.exp(one.log_probability(["a"])) < 1


def test_longer_contexts_fit_better():
    random = np.random.default_rng(0)
    nouns, verbs = ("dog", "cat", "bird", "fish"), ("runs", "sees", "eats")
    made = [
        ["the", str(random.choice(nouns)), str(random.choice(verbs)), "the", str(random.choice(nouns))]
        for _ in range(200)
    ]
    first, rest = made[:150], made[150:]
    values = [NgramModel.fit(first, order=order).perplexity(rest) for order in (1, 2, 3)]
    assert values[0] > 2 * values[1] > 2 * values[2] * 0.9
    # The source has 48 sentences of 6 tokens, and two words do not tell whether the sentence ends: 2 bits more
    assert values[2] == pytest.approx((4 * 48) ** (1 / 6), rel=0.03)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="at least one text"):
        NgramModel.fit([])
    with pytest.raises(InputError, match="the order is 0"):
        NgramModel.fit(SENTENCES, order=0)
    with pytest.raises(InputError, match="the vocabulary starts"):
        NgramModel(("a", "b", "c"), 2, {}, {})
    assert NgramModel.fit(SENTENCES).perplexity([]) == math.inf
