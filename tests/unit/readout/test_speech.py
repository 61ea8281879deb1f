"""Language model and phrases of a transcript's search."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.data.bpe import BLANK_ID, TargetTokenizer
from omnifuse.errors import InputError
from omnifuse.readout.speech import (
    PIECES,
    WORDS,
    SpeechLanguage,
    SpeechOptions,
    ctc_search,
    known_phrases,
    mixed_score,
)
from omnifuse.readout.transcript import Transcript, doubt
from omnifuse.readout.words import Word

SAID = ["a red car", "a red bus", "the red car", "a rad day"]
TEXT = TargetTokenizer.fit(SAID, units="characters", normaliser="plain")


def frames(text, doubted=()):
    """Log-probabilities of a text, a blank behind each letter; of doubted letters another is a little likelier."""
    rows = []
    for place, index in enumerate(TEXT.encode(text)):
        row = np.full(TEXT.vocab_size, 1e-3)
        row[index] = 0.4 if place in doubted else 0.9
        if place in doubted:
            row[doubted[place]] = 0.5
        blank = np.full(TEXT.vocab_size, 1e-3)
        blank[BLANK_ID] = 0.9
        rows += [row, blank]
    return np.log(np.array(rows) / np.sum(rows, axis=1, keepdims=True))


def heard(logs, language=None, **options):
    return ctc_search(TEXT, language, SpeechOptions(**options)).search(logs)[0].text


def test_what_was_said_before_decides_what_is_doubtful():
    language = SpeechLanguage.fit([*SAID, None], TEXT, longest_s=2.0)
    assert language.units == WORDS
    logs = frames("a red car", {3: TEXT.encode("a")[0]})
    assert heard(logs) == "a rad car"
    assert heard(logs, language) == "a red car"
    assert heard(logs, language, lm_weight=0.0) == "a rad car"


def test_phrases_are_listened_for_and_those_that_cannot_be_written_are_named():
    phrases, notes = known_phrases(["rad  car", "", "Zürich", "rad car"], TEXT)
    assert phrases == ("rad car",)
    assert "Zürich" in notes[0]
    language = SpeechLanguage.fit(SAID, TEXT, longest_s=2.0)
    logs = frames("a rad car", {3: TEXT.encode("e")[0]})
    assert heard(logs, language) == "a red car"
    assert heard(logs, language, phrases=phrases) == "a rad car"


def test_texts_without_spaces_have_a_model_of_pieces():
    language = SpeechLanguage.fit(["abcdabcdabcdabcdabcdabcd"] * 3, TEXT, longest_s=2.0)
    assert language.units == PIECES
    assert heard(frames("abcd"), language) == "abcd"
    assert SpeechLanguage.fit([None, " "], TEXT, longest_s=2.0) is None


@pytest.mark.parametrize("wrong", [{"beams": 0}, {"num": 17}, {"lm_weight": -1}, {"attention": 2}, {"boost": 99}])
def test_options_without_meaning_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SpeechOptions(**wrong)


def test_the_decoder_counts_by_its_weight_and_doubt_is_said():
    assert mixed_score(-4.0, -2.0, 0.25) == -3.5
    assert mixed_score(-4.0, None, 0.25) == -4.0
    sure, unsure = (Transcript(0, (Word("a", 0, 1, share),), 1.0) for share in (0.9, 0.2))
    assert doubt(sure.confidence) == doubt(None) == []
    assert "20%" in doubt(unsure.confidence)[0]
    assert sure.to_json()["words"][0]["word"] == "a"
