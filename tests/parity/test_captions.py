"""BLEU, ROUGE-L and CIDEr-D against the equations of the papers, written out slowly with dense vectors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.evaluation.captions import bleu, cider_d, rouge_l, score_captions, score_facts

WORDS = ["a", "the", "red", "blue", "disc", "square", "on", "left", "right", "and", "of"]


def corpus(seed, num=12):
    random = np.random.default_rng(seed)

    def text(low=2, high=12):
        return [str(word) for word in random.choice(WORDS, random.integers(low, high))]

    references = [[text() for _ in range(random.integers(1, 5))] for _ in range(num)]
    answers = []
    for texts in references:
        # Mostly a reference with some words changed
        words = list(texts[0]) if random.random() < 0.7 else text(0, 12)
        answers.append([str(random.choice(WORDS)) if random.random() < 0.2 else word for word in words])
    return references, answers


def occurrences(gram, words):
    return sum(tuple(words[at : at + len(gram)]) == gram for at in range(len(words) - len(gram) + 1))


def all_grams(texts, length):
    return sorted({tuple(text[at : at + length]) for text in texts for at in range(len(text) - length + 1)})


def slow_bleu(references, answers, most):
    """Papineni's equations 1 to 3: clipped precisions, geometric mean, brevity penalty by the closest length."""
    logs = []
    for length in range(1, most + 1):
        right = given = 0
        for texts, words in zip(references, answers, strict=True):
            for gram in all_grams([words], length):
                count = occurrences(gram, words)
                given += count
                right += min(count, max(occurrences(gram, text) for text in texts))
        logs.append(math.log((right + 1e-15) / (given + 1e-9)))
    candidate = sum(len(words) for words in answers)
    closest = 0
    for texts, words in zip(references, answers, strict=True):
        lengths = sorted(len(text) for text in texts)
        closest += min(lengths, key=lambda length: (abs(length - len(words)), length))
    penalty = 1.0 if candidate >= closest else math.exp(1 - closest / candidate)
    return penalty * math.exp(sum(logs) / most)


def slow_rouge(texts, words, beta=1.2):
    """Lin's equations, the longest common subsequence found by trying every subsequence of the answer."""

    def longest(text):
        for size in range(len(words), 0, -1):
            for chosen in itertools.combinations(words, size):
                rest = iter(text)
                if all(word in rest for word in chosen):
                    return size
        return 0

    precision = max(longest(text) / len(words) for text in texts)
    recall = max(longest(text) / len(text) for text in texts)
    if not precision or not recall:
        return 0.0
    return (1 + beta**2) * recall * precision / (recall + beta**2 * precision)


def slow_cider(references, answers):
    """Vedantam's equations: g = tf-idf as dense vectors, the clipped cosine, the Gaussian of lengths, times ten."""
    scores = np.zeros(len(answers))
    for length in range(1, 5):
        grams = all_grams([text for texts in references for text in texts] + answers, length)
        held = [sum(any(occurrences(gram, text) for text in texts) for texts in references) for gram in grams]
        inverse = np.array([math.log(len(references) / max(1, count)) for count in held])

        def vector(text, grams=grams, inverse=inverse):
            return np.array([occurrences(gram, text) for gram in grams], np.float64) * inverse

        for number, (texts, words) in enumerate(zip(references, answers, strict=True)):
            ours, total = vector(words), 0.0
            for text in texts:
                theirs = vector(text)
                norm = np.linalg.norm(ours) * np.linalg.norm(theirs)
                cosine = np.minimum(ours, theirs) @ theirs / norm if norm else 0.0
                # pycocoevalcap takes the number of pairs of words for the length of a text
                apart = max(0, len(words) - 1) - max(0, len(text) - 1)
                total += cosine * math.exp(-(apart**2) / (2 * 6.0**2))
            scores[number] += 10 * total / len(texts) / 4
    return scores


@pytest.mark.parametrize("seed", range(4))
def test_bleu_equals_the_equations(seed):
    references, answers = corpus(seed)
    assert bleu(references, answers) == pytest.approx([slow_bleu(references, answers, n) for n in (1, 2, 3, 4)])


@pytest.mark.parametrize("seed", range(4))
def test_rouge_equals_the_equations(seed):
    references, answers = corpus(seed)
    pairs = [(texts, words) for texts, words in zip(references, answers, strict=True) if words]
    expected = [slow_rouge(texts, words) for texts, words in pairs]
    assert rouge_l(*map(list, zip(*pairs, strict=True))) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("seed", range(4))
def test_cider_equals_the_equations(seed):
    references, answers = corpus(seed)
    assert cider_d(references, answers) == pytest.approx(slow_cider(references, answers), abs=1e-12)


def test_cider_of_two_pictures_by_hand():
    references = [[["a", "cat", "sat"]], [["a", "dog", "ran"]]]
    # "a" is in both pictures and weighs nothing; all else weighs log 2
    same = cider_d(references, [["a", "cat", "sat"], ["a", "dog", "ran"]])
    assert same == pytest.approx(np.full(2, 10 * 3 / 4))
    # One word of two, one pair of two, no three
    half = cider_d(references, [["a", "cat", "ran"], ["x", "y", "z"]])
    assert half == pytest.approx([10 * (0.5 + 0.5) / 4, 0.0])


def test_repeating_words_does_not_pay():
    references = [[["a", "red", "disc"]], [["a", "blue", "square"]]]
    repeated = cider_d(references, [["red", "red", "red", "red", "red", "red"], []])
    assert repeated[0] < 0.3 * cider_d(references, [["a", "red", "disc"], []])[0]


def test_perfect_and_empty_captions():
    texts = [["A red disc on the left."], ["Two blue squares on the right!", "blue squares"]]
    perfect = score_captions(texts, ["a red disc on the left", "two blue squares on the right"])
    assert perfect.bleu == pytest.approx((1, 1, 1, 1))
    assert perfect.rouge_l["value"] == pytest.approx(1)
    assert perfect.normaliser == "basic"
    nothing = score_captions(texts, [None, ""])
    assert nothing.bleu == pytest.approx((0, 0, 0, 0), abs=1e-6)
    assert (nothing.rouge_l["value"], nothing.cider_d["value"]) == (0, 0)
    long = score_captions(texts, ["disc " * 10_000, "blue"])
    assert np.isfinite([*long.bleu, long.rouge_l["value"], long.cider_d["value"]]).all()
    alone = score_captions([["a cat"]], ["a cat"])
    assert (alone.cider_d["value"], alone.cider_d["low"]) == (0, None)


def test_facts():
    truth = [{("red", "disc"), ("blue", "square")}, {("red", "cross")}]
    said = [{("red", "disc"), ("blue", "disc")}, {("red", "cross")}]
    found = score_facts(truth, said)
    assert (found.precision["value"], found.recall["value"], found.exact["value"]) == pytest.approx((2 / 3, 2 / 3, 0.5))
    twice = score_facts([["a", "a"]], [["a"]])
    assert (twice.precision["value"], twice.recall["value"], twice.exact["value"]) == (1, 0.5, 0)
    assert score_facts([["a"]], [[]]).precision["value"] is None


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="1 captions are not of 2 pictures"):
        score_captions([["a"], ["b"]], ["a"])
    with pytest.raises(InputError, match="row 1"):
        score_captions([["a"], []], ["a", "b"])
    with pytest.raises(InputError, match="not of 2 pictures"):
        score_facts([[], []], [[]])
    with pytest.raises(InputError, match="no text normaliser"):
        score_captions([["a"]], ["a"], normalise="ptb")
