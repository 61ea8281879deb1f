"""CTC searches against every path written out, and scorers against sums over whole texts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from omnifuse.data.bpe import SPACE, SPECIAL_PIECES, TargetTokenizer
from omnifuse.readout.ctc import CtcBeamSearch, greedy
from omnifuse.readout.ctc_alignment import align
from omnifuse.readout.ngram import NgramModel
from omnifuse.readout.phrases import PhraseScorer
from omnifuse.readout.scorers import SumScorer, TokenScorer, WordScorer

PIECES = [*SPECIAL_PIECES, "a", "b", SPACE]
LIVE = (0, 1, 4, 5, 6)
WIDE = {"beam_width": 100_000, "beam_drop": 1e9, "token_floor": 0.0, "max_tokens": 100}


def frames(seed, num_frames, sharpness=1.0, width=7):
    logits = np.random.default_rng(seed).normal(size=(num_frames, width)) * sharpness
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def collapsed(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def by_hand(log_probs):
    """Every text to the sum of its paths' probabilities."""
    found = {}
    for path in itertools.product(LIVE, repeat=len(log_probs)):
        text = collapsed(path)
        found[text] = found.get(text, 0.0) + np.exp(sum(log_probs[at, token] for at, token in enumerate(path)))
    return found


def whole(scorer, tokens):
    """What a scorer adds to a text, token by token."""
    state, total = scorer.start(), 0.0
    for token in tokens:
        total += scorer.row(state)[token]
        state = scorer.advance(state, token)
    return total + scorer.finish(state)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_the_search_adds_up_every_path(num_frames):
    log_probs = frames(num_frames, num_frames)
    truth = by_hand(log_probs)
    found = CtcBeamSearch(PIECES, **WIDE).search(log_probs, num=10_000)
    assert {one.tokens for one in found} == set(truth)
    for one in found:
        assert one.acoustic == one.score == pytest.approx(np.log(truth[one.tokens]), abs=1e-9)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def scorers():
    words = NgramModel.fit([["ab", "a"], ["a", "ab"], ["b"]], order=2)
    letters = NgramModel.fit([["a", "b", SPACE, "a"], ["a", SPACE, "a", "b"]], order=3)
    return {
        "words": WordScorer(words, PIECES, weight=0.7, bonus=0.3, unknown=-2.0),
        "words, no look-ahead": WordScorer(words, PIECES, weight=0.7, look_ahead=False),
        "letters": TokenScorer(letters, PIECES, weight=0.4, bonus=0.2),
        "phrases": PhraseScorer(["ab", "a b", "b a a"], PIECES, boost=0.6),
        "all": SumScorer([WordScorer(words, PIECES), PhraseScorer(["ba"], PIECES)]),
    }


@pytest.mark.parametrize("name", scorers())
def test_scorers_are_added_to_every_text(name):
    scorer, log_probs = scorers()[name], frames(7, 5)
    truth = by_hand(log_probs)
    found = CtcBeamSearch(PIECES, scorer, **WIDE).search(log_probs, num=10_000)
    assert len(found) == len(truth)
    for one in found:
        assert one.score == pytest.approx(np.log(truth[one.tokens]) + whole(scorer, one.tokens), abs=1e-9)


def split(tokens):
    return "".join({6: " ", 1: "\ufffd"}.get(token, PIECES[token]) for token in tokens).split()


@pytest.mark.parametrize("look_ahead", [True, False])
def test_the_word_scorer_says_what_the_language_model_says(look_ahead):
    model = NgramModel.fit([["ab", "a"], ["a", "ab"], ["b", "a"]], order=3)
    scorer = WordScorer(model, PIECES, weight=0.7, bonus=0.3, unknown=-2.0, look_ahead=look_ahead)
    for length in range(6):
        for tokens in itertools.product(LIVE[1:], repeat=length):
            words = split(tokens)
            unknown = sum(word not in model.index for word in words)
            expected = 0.7 * model.log_probability(words) + 0.3 * len(words) - 2.0 * unknown
            assert whole(scorer, tokens) == pytest.approx(expected, abs=1e-9), tokens


def test_the_word_scorer_does_not_care_how_words_are_cut():
    texts = ["the red car", "the blue car", "a red bus"] * 4
    tokenizer = TargetTokenizer.fit(texts, vocab_size=60)
    model = NgramModel.fit([text.split() for text in texts], order=2)
    scorer = WordScorer(model, tokenizer.pieces)
    index = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    for text in ("the red car", "the bus", "a cad", ""):
        letters = [index[letter] for letter in (SPACE + text.replace(" ", SPACE) if text else "")]
        merged = tokenizer.encode(text)
        assert len(merged) < len(letters) or not text
        assert whole(scorer, merged) == pytest.approx(whole(scorer, letters), abs=1e-9)


def test_the_token_scorer_says_what_the_language_model_says():
    model = NgramModel.fit([["a", "b", SPACE, "a"], ["a", SPACE, "a", "b"]], order=3)
    scorer = TokenScorer(model, PIECES, weight=0.4, bonus=0.2)
    for tokens in itertools.product((4, 5, 6), repeat=4):
        expected = 0.4 * model.log_probability([PIECES[token] for token in tokens]) + 0.2 * 4
        assert whole(scorer, tokens) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("phrases", "text", "characters"),
    [
        (["ab"], "ab", 3),
        (["ab"], "ab a ab", 6),
        (["ab"], "abb", 0),
        (["ab"], "bab", 0),
        (["ab"], "a b", 0),
        (["ab b"], "ab", 0),
        (["ab b"], "ab b", 5),
        (["ab b"], "ab a", 0),
        (["ab b"], "ab ab b", 5),
        (["ab", "ab b"], "ab", 3),
        (["ab", "ab b"], "ab b", 5),
        (["ab", "ab b"], "ab bb", 3),
        (["b ab a", "ab"], "b ab bb", 3),
        (["b ab a", "ab"], "b ab a", 7),
        (["a b", "b ab"], "a b ab", 9),
        (["a b"], "a b a b", 8),
        (["ab"], "", 0),
    ],
)
def test_phrases_that_were_said_are_counted_and_no_others(phrases, text, characters):
    scorer = PhraseScorer(phrases, PIECES, boost=0.5)
    tokens = [{"a": 4, "b": 5, " ": 6}[letter] for letter in text]
    assert whole(scorer, tokens) == pytest.approx(0.5 * characters)


def test_a_phrase_counts_while_it_grows():
    scorer = PhraseScorer(["ab b"], PIECES, boost=0.5)
    state = scorer.start()
    assert scorer.row(state)[[4, 5, 6, 0]].tolist() == [0.5, 0, 0, 0]
    state = scorer.advance(scorer.advance(state, 4), 5)
    assert scorer.row(state)[[4, 5, 6]].tolist() == [-1.0, -1.0, 0.5]


def test_alignment_is_the_best_path():
    for seed, tokens in enumerate([(4,), (4, 4), (4, 5, 4), (5, 5, 6), (1, 4, 4, 5)]):
        log_probs = frames(seed, 6)
        best, value = None, -np.inf
        for path in itertools.product(LIVE, repeat=6):
            total = sum(log_probs[at, token] for at, token in enumerate(path))
            if collapsed(path) == tokens and total > value:
                best, value = path, total
        spans = align(log_probs, tokens)
        rebuilt = [0] * 6
        for token, span in zip(tokens, spans, strict=True):
            rebuilt[span.first : span.last + 1] = [token] * (span.last - span.first + 1)
            assert span.log == log_probs[span.first : span.last + 1, token].max()
        assert tuple(rebuilt) == best


def test_greedy_is_the_best_path_collapsed():
    log_probs = np.stack([frames(seed, 9, 3.0) for seed in range(8)])
    lengths = [9, 5, 0, 1, 9, 7, 3, 2]
    expected = [list(collapsed(one[:n].argmax(axis=1))) for one, n in zip(log_probs, lengths, strict=True)]
    assert greedy(log_probs, lengths) == expected


def test_a_narrow_beam_comes_close_to_a_wide_one():
    gaps = []
    for seed in range(6):
        log_probs = frames(seed, 30, 5.0)
        narrow = CtcBeamSearch(PIECES, beam_width=64).search(log_probs)[0]
        wide = CtcBeamSearch(PIECES, beam_width=400, beam_drop=1e9, token_floor=0.0).search(log_probs)[0]
        assert narrow.acoustic <= wide.acoustic + 1e-9
        assert narrow.tokens == wide.tokens
        gaps.append(wide.acoustic - narrow.acoustic)
    assert np.mean(gaps) < 0.05
