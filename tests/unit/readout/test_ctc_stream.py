"""Streaming: final words never change, the cuts make no difference, and memory does not grow with the sound."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.readout.spoken import spoken_frames

from omnifuse.data.bpe import SPACE, SPECIAL_PIECES
from omnifuse.errors import InputError
from omnifuse.readout.ctc import CtcBeamSearch
from omnifuse.readout.ctc_stream import CtcStream
from omnifuse.readout.ngram import NgramModel
from omnifuse.readout.scorers import WordScorer
from omnifuse.readout.words import text_of

PIECES = [*SPECIAL_PIECES, *"abcdeghiknorstuw", SPACE]
TEXT = "the red horse runs to the station and sees a king in the rain"
FRAME_S = 0.04


def streamed(stream, log_probs, sizes):
    """All final words, and what stood after each part."""
    words, stood, at = [], [], 0
    for size in sizes:
        part = stream.push(log_probs[at : at + size])
        at += size
        words += part.final
        stood.append((list(words), part.pending))
    part = stream.push(log_probs[at:])
    words += part.final
    return words + list(stream.finish().final), stood


def search(scored):
    words = NgramModel.fit([TEXT.split(), ["a", "red", "king", "runs"]], order=2)
    return CtcBeamSearch(PIECES, WordScorer(words, PIECES) if scored else None, beam_width=8)


@pytest.mark.parametrize("scored", [True, False])
def test_a_stream_says_what_the_whole_says(scored):
    for seed in range(3):
        log_probs, _ = spoken_frames(TEXT, PIECES, seed=seed, sureness=5.5, noise=1.2)
        whole = search(scored).search(log_probs)[0].text
        words, stood = streamed(CtcStream(search(scored), FRAME_S), log_probs, [7] * 30)
        assert text_of(words) == whole
        for final, pending in stood:
            assert words[: len(final)] == final
            assert [word.start_s for word in [*final, *pending]] == sorted(word.start_s for word in [*final, *pending])
        # Words become final while the sound goes on
        assert len(stood[len(log_probs) // 14][0]) >= 2


def test_words_and_times_do_not_depend_on_the_cuts():
    log_probs, _ = spoken_frames(TEXT, PIECES, sureness=3.0, noise=1.5, quiet=(4, 9))
    outcomes = [
        streamed(CtcStream(search(True), FRAME_S), log_probs, sizes)[0]
        for sizes in ([1] * 200, [3, 0, 50, 2, 2, 2], [40], [])
    ]
    assert all(one == outcomes[0] for one in outcomes)


def test_times_and_confidences_are_those_of_the_words():
    log_probs, truth = spoken_frames(TEXT, PIECES, sureness=9.0, noise=0.5, quiet=(6,))
    words, _ = streamed(CtcStream(search(False), FRAME_S), log_probs, [11] * 20)
    assert [word.text for word in words] == [text for text, _, _ in truth]
    for word, (_, first, last) in zip(words, truth, strict=True):
        assert word.start_s == pytest.approx(first * FRAME_S, abs=0.05)
        assert word.end_s == pytest.approx((last + 1) * FRAME_S, abs=0.05)
        assert word.confidence > 0.9


def test_a_silence_makes_words_final_at_once():
    log_probs, truth = spoken_frames("the rain is red", PIECES, sureness=9.0, noise=0.5, quiet=(2,), quiet_frames=40)
    stream = CtcStream(search(False), FRAME_S, silence_s=0.8)
    before = truth[1][2] + 1
    first = stream.push(log_probs[:before])
    assert text_of([*first.final, *first.pending]) == "the rain"
    quiet = stream.push(log_probs[before : before + 30])
    assert text_of([*first.final, *quiet.final]) == "the rain"
    assert quiet.pending == ()
    assert quiet.time_s == pytest.approx((before + 30) * FRAME_S)
    rest = stream.push(log_probs[before + 30 :])
    assert text_of([*rest.final, *stream.finish().final]) == "is red"


class Remembering:
    """A scorer that adds nothing and could be changed by any word, however long ago."""

    def start(self):
        return ()

    def row(self, state):
        return np.zeros(len(PIECES))

    def advance(self, state, token):
        return (*state, token)

    def finish(self, state):
        return 0.0


def test_doubt_that_no_later_word_can_settle_does_not_delay():
    log_probs, truth = spoken_frames("ab the red horse runs to the station and rests", PIECES, sureness=9.0, noise=0.1)
    index = {piece: number for number, piece in enumerate(PIECES)}
    end = truth[0][2] + 1
    log_probs[:end, index["c"]] = log_probs[:end, index["b"]] - 0.5
    stream = CtcStream(search(False), FRAME_S, doubt_s=60.0, max_delay_s=60.0)
    part = stream.push(log_probs)
    assert len(part.final) >= 7
    assert part.final[0].text.startswith("ab")


def test_old_words_become_final_in_spite_of_doubt():
    # Two first words are equally likely, and nothing ever decides between them
    log_probs, truth = spoken_frames("ab the red horse runs to the station and rests", PIECES, sureness=9.0, noise=0.1)
    index = {piece: number for number, piece in enumerate(PIECES)}
    end = truth[0][2] + 1
    said = log_probs[:end].argmax(axis=1) == index["b"]
    log_probs[:end][said, index["c"]] = log_probs[:end][said, index["b"]]
    # One frame alone, so that "abc" is not possible
    for at in np.flatnonzero(said)[1:]:
        log_probs[at] = log_probs[2]
    remembering = CtcBeamSearch(PIECES, Remembering(), beam_width=8)
    patient = CtcStream(remembering, FRAME_S, doubt_s=60.0, max_delay_s=60.0)
    assert patient.push(log_probs).final == ()
    hasty = CtcStream(remembering, FRAME_S, max_delay_s=0.8)
    words = [*hasty.push(log_probs).final]
    assert len(words) >= 4
    assert words[0].text in ("ab", "ac")
    assert text_of([*words, *hasty.finish().final][1:]) == "the red horse runs to the station and rests"


def test_memory_does_not_grow():
    stream = CtcStream(search(True), FRAME_S)
    sizes = []
    for seed in range(12):
        log_probs, _ = spoken_frames(TEXT, PIECES, seed=seed, sureness=5.0)
        stream.push(log_probs)
        sizes.append((len(stream._frames), len(stream._state.known)))
    assert max(frames for frames, _ in sizes) < 150
    assert max(nodes for _, nodes in sizes[6:]) <= 2 * max(nodes for _, nodes in sizes[:6])
    # Not even where no word ever ends
    log_probs, _ = spoken_frames("ab" * 300, PIECES, sureness=5.0)
    endless = CtcStream(search(False), FRAME_S, max_delay_s=1.0)
    endless.push(log_probs)
    assert len(endless._frames) <= 8 * 25


def test_nothing_noise_and_a_word_that_is_cut_off():
    stream = CtcStream(search(True), FRAME_S)
    assert stream.push(np.zeros((0, len(PIECES)))).pending == ()
    assert stream.finish().final == ()
    random = np.random.default_rng(0).normal(size=(300, len(PIECES))) * 2
    noise = random - np.log(np.exp(random).sum(axis=1, keepdims=True))
    words, _ = streamed(CtcStream(search(True), FRAME_S, max_delay_s=0.5), noise, [13] * 20)
    assert words
    assert np.mean([word.confidence for word in words]) < 0.5
    log_probs, truth = spoken_frames("the station", PIECES, sureness=9.0, noise=0.1)
    stream = CtcStream(search(False), FRAME_S)
    first = stream.push(log_probs[: truth[1][1] + 5]).final
    assert text_of([*first, *stream.finish().final]).startswith("the st")
    assert stream.finish().final == ()
    with pytest.raises(InputError, match="the stream has ended"):
        stream.push(log_probs)


def test_bad_frames_are_refused_before_any_is_read():
    stream = CtcStream(search(False), FRAME_S)
    bad = np.zeros((5, len(PIECES)))
    bad[4, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        stream.push(bad)
    with pytest.raises(InputError, match="not \\(frames"):
        stream.push(np.zeros((5, 3)))
    assert stream.finish().time_s == 0
    with pytest.raises(InputError, match="above 0"):
        CtcStream(search(False), 0.0)
