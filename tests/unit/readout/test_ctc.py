"""Searches on frames of known texts: words, times, confidences, and what language models and phrases change."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.readout.spoken import spoken_frames

from omnifuse.data.bpe import SPACE, SPECIAL_PIECES, TargetTokenizer
from omnifuse.errors import InputError
from omnifuse.readout.ctc import CtcBeamSearch, greedy
from omnifuse.readout.ctc_alignment import align, fewest_frames
from omnifuse.readout.ngram import NgramModel
from omnifuse.readout.phrases import PhraseScorer
from omnifuse.readout.scorers import SumScorer, WordScorer
from omnifuse.readout.words import Word, confidence_of, text_of

PIECES = [*SPECIAL_PIECES, *"abcdeghiknorstuw", SPACE]
TEXT = "the red horse runs to the station"


def test_words_times_and_confidences():
    log_probs, truth = spoken_frames(TEXT, PIECES, sureness=9.0, noise=0.5)
    best = CtcBeamSearch(PIECES).search(log_probs, frame_s=0.04, offset_s=2.0)[0]
    assert best.text == TEXT == text_of(best.words)
    for word, (_, first, last) in zip(best.words, truth, strict=True):
        assert (word.start_s, word.end_s) == pytest.approx((2 + first * 0.04, 2 + (last + 1) * 0.04), abs=0.05)
        assert 0.9 < word.confidence <= 1
    assert best.confidence == pytest.approx(confidence_of(best.words))
    assert best.words[0].to_json()["word"] == "the"
    assert best.words[0].shifted(1).start_s == best.words[0].start_s + 1


def test_doubt_lowers_the_confidence():
    log_probs, truth = spoken_frames(TEXT, PIECES, sureness=9.0, noise=0.1)
    index = {piece: number for number, piece in enumerate(PIECES)}
    _, first, last = truth[1]
    log_probs[first : last + 1, index["e"]] -= 1.5
    log_probs[first : last + 1, index["a"]] = log_probs[first : last + 1, index["e"]] - 0.1
    words = CtcBeamSearch(PIECES).search(log_probs, frame_s=0.04)[0].words
    assert words[1].confidence < 0.85 < 0.95 < words[0].confidence


def test_several_hypotheses_differ_and_are_sorted():
    log_probs, _ = spoken_frames(TEXT, PIECES, sureness=3.0, noise=1.5)
    found = CtcBeamSearch(PIECES).search(log_probs, num=5)
    assert len({one.tokens for one in found}) == 5
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_language_model_mends_errors():
    model = NgramModel.fit(
        [TEXT.split(), ["the", "king", "sees", "the", "red", "rain"], ["a", "horse", "runs"]], order=2
    )
    scorer = WordScorer(model, PIECES, weight=0.8, bonus=1.0)
    plain = helped = 0
    for seed in range(4):
        log_probs, _ = spoken_frames(TEXT, PIECES, seed=seed, sureness=3.0, noise=1.2)
        plain += CtcBeamSearch(PIECES).search(log_probs)[0].text == TEXT
        helped += CtcBeamSearch(PIECES, scorer).search(log_probs)[0].text == TEXT
    assert plain == 0
    assert helped >= 3


def test_a_phrase_makes_the_difference_between_like_names():
    log_probs, truth = spoken_frames("the red karstein runs", PIECES, sureness=8.0, noise=0.1)
    index = {piece: number for number, piece in enumerate(PIECES)}
    _, first, last = truth[2]
    # "c" is a little likelier than "k"
    log_probs[first : last + 1, index["c"]] = log_probs[first : last + 1, index["k"]] + 1.0
    assert CtcBeamSearch(PIECES).search(log_probs)[0].text == "the red carstein runs"
    boost = PhraseScorer(["karstein"], PIECES, boost=1.0)
    assert CtcBeamSearch(PIECES, boost).search(log_probs)[0].text == "the red karstein runs"
    # A phrase that was not said changes nothing
    other = PhraseScorer(["karsten red", "horse"], PIECES, boost=1.0)
    assert CtcBeamSearch(PIECES, other).search(log_probs)[0].text == "the red carstein runs"


def test_pieces_of_words_do_as_well_as_letters():
    texts = [TEXT, "the king sees the red rain", "a horse runs to the king"] * 4
    tokenizer = TargetTokenizer.fit(texts, vocab_size=60)
    path = [part for token in tokenizer.encode(TEXT) for part in (token, token, 0)]
    log_probs = np.log(np.eye(tokenizer.vocab_size)[path] * 0.9 + 0.1 / tokenizer.vocab_size)
    model = NgramModel.fit([text.split() for text in texts], order=2)
    scorer = SumScorer([WordScorer(model, tokenizer.pieces), PhraseScorer(["station"], tokenizer.pieces)])
    best = CtcBeamSearch(tokenizer.pieces, scorer).search(log_probs, frame_s=0.08)[0]
    assert best.text == TEXT
    assert [word.text for word in best.words] == TEXT.split()
    assert [word.start_s for word in best.words] == sorted(word.start_s for word in best.words)


def test_batches_silence_and_no_frames():
    one, _ = spoken_frames(TEXT, PIECES)
    quiet = np.log(np.eye(len(PIECES))[[0] * 20] * 0.99 + 1e-4)
    batch = np.zeros((3, len(one), len(PIECES)))
    batch[0], batch[1, :20] = one, quiet
    found = CtcBeamSearch(PIECES).search_batch(batch, [len(one), 20, 0], num=2, frame_s=0.04)
    assert [hypotheses[0].text for hypotheses in found] == [TEXT, "", ""]
    assert (found[2][0].score, found[2][0].words, found[2][0].confidence) == (0.0, (), None)


def test_impossible_and_banned_tokens():
    log_probs = np.full((4, len(PIECES)), -np.inf)
    log_probs[:, 0] = 0
    log_probs[1, 2] = log_probs[1, 3] = 5
    log_probs[2] = -np.inf
    assert CtcBeamSearch(PIECES).search(log_probs)[0].text == ""


def test_a_beam_wider_than_the_vocabulary():
    log_probs, _ = spoken_frames("the rain", PIECES)
    assert CtcBeamSearch(PIECES, beam_width=500, max_tokens=9_999).search(log_probs, num=50)[0].text == "the rain"


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="finds nothing"):
        CtcBeamSearch(PIECES, beam_width=0)
    with pytest.raises(InputError, match="NaN"):
        CtcBeamSearch(PIECES).search(np.full((2, len(PIECES)), np.nan))
    with pytest.raises(InputError, match="not \\(frames, 21 tokens\\)"):
        CtcBeamSearch(PIECES).search(np.zeros((2, 3)))
    with pytest.raises(InputError, match="does not fit into 2 frames"):
        align(np.zeros((2, 6)), [4, 4])
    with pytest.raises(InputError, match="a phrase to listen for is empty"):
        PhraseScorer(["ab", "  "], PIECES)
    with pytest.raises(InputError, match="not \\(sounds"):
        greedy(np.zeros((2, 3)))
    assert fewest_frames([4, 4, 5]) == 4
    assert greedy(np.zeros((2, 0, 5))) == [[], []]
    assert align(np.zeros((0, 5)), []) == []
    assert text_of([Word("a", 0, 1), Word("b", 1, 2)]) == "a b"
