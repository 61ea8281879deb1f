"""Texts that are written: ids and back, what is cut, unknown or missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnifuse.data.bpe import END_ID, NUM_SPECIAL, REPLACEMENT, SPACE, SPECIAL_PIECES, UNKNOWN_ID
from omnifuse.data.preprocessors import preprocessors_from_json, preprocessors_to_json
from omnifuse.data.target_text import (
    MAX_CHARACTERS,
    TextOptions,
    decode_texts,
    encode_texts,
    fit_target_texts,
    written_notes,
)
from omnifuse.errors import ArtefactError, InputError
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

CAPTION = Target("caption", TaskKind.CAPTIONING)


def schema(*targets):
    return Schema((Field("note", Modality.TEXT), Field("width", Modality.NUMBER)), targets)


def learnt(cells, **options):
    return TextOptions(**options).fit(cells, CAPTION)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6), st.sampled_from(["characters", "bpe"]))
def test_what_was_learnt_comes_back(cells, units):
    text = learnt(cells, units=units)
    back = decode_texts(encode_texts(cells, text), text)
    assert back == [text.normalise(cell).replace(SPACE, REPLACEMENT) for cell in cells]


def test_units_are_chosen_by_number_and_length():
    short, long = ["a red car"] * 400, ["a red car on a long road in the evening"] * 400
    said = Target("said", TaskKind.TRANSCRIPTION)
    digits = ["nine four", "four nine nine"] * 20
    given = ((short, CAPTION), (long, CAPTION), (digits, said), ([*digits, "torvald"], said), (digits, CAPTION))
    assert [TextOptions().fit(*one).units for one in given] == ["characters", "bpe", "bpe", "characters", "characters"]
    # Each digit is one piece
    text = TextOptions().fit(digits, said)
    assert len(text.encode("nine four")) == 2
    assert TextOptions().fit(long[:20], CAPTION).units == "characters"
    assert learnt(["Don't!"], normaliser="basic").normalise("DON'T, stop") == "don't stop"
    for wrong in ({"units": "letters"}, {"normaliser": "basik"}):
        with pytest.raises(InputError, match="there"):
            TextOptions(**wrong)


def test_missing_empty_and_unknown():
    text = learnt(["a bad cab"])
    encoded = encode_texts(["a", None, "", "xa"], text)
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [[4, END_ID, -1], [-1, -1, -1], [END_ID, -1, -1], [UNKNOWN_ID, 4, END_ID]]
    assert decode_texts(encoded, text) == ["a", None, "", REPLACEMENT + "a"]
    assert encode_texts([None, None], text).shape == (2, 1)


def test_long_texts_are_cut_counted_and_have_no_end():
    text = learnt(["abcd"], max_length=3)
    encoded = encode_texts(["abcd", "abc"], text)
    assert encoded.shape == (2, 4)
    assert [END_ID in row for row in encoded.tolist()] == [False, True]
    notes = written_notes("caption", ["abcd", "xy", "", None], text)
    assert len(notes) == 3
    assert "1 texts of 'caption' are longer than 3" in notes[0]
    assert "2 characters" in notes[1]
    assert "1 texts of 'caption' are empty" in notes[2]
    assert written_notes("caption", ["abc", None], text) == []


def test_no_text_is_written_twice_as_long_as_any_that_was_learnt():
    found = fit_target_texts({"caption": ["ab", None, "abcd"]}, schema(CAPTION))
    assert found["caption"].max_length == 8
    assert fit_target_texts({"caption": ["ab" * 400]}, schema(CAPTION))["caption"].max_length == 256


def test_many_characters_and_a_long_text_are_bounded():
    letters = "".join(chr(0x4E00 + number) for number in range(MAX_CHARACTERS + 500))
    text = learnt([letters, "aaa"])
    assert text.vocab_size == NUM_SPECIAL + MAX_CHARACTERS
    assert "a" in text.pieces
    assert encode_texts(["a" * 10_000], text).shape == (1, 256)


def test_a_vocabulary_for_each_target_that_is_written():
    cells = {"caption": ["a cat", None]}
    found = fit_target_texts(cells, schema(CAPTION, Target("kind", TaskKind.CLASSIFICATION, ("a", "b"))))
    assert list(found) == ["caption"]
    again = preprocessors_from_json(preprocessors_to_json(found))
    assert again == found
    with pytest.raises(InputError, match="no cell of the label 'caption' holds a character"):
        fit_target_texts({"caption": ["\u200b", None]}, schema(CAPTION))
    with pytest.raises(InputError, match="has the name of an input"):
        fit_target_texts({"note": ["a"]}, schema(Target("note", TaskKind.CAPTIONING)))
    # The joined columns of numbers make room for a text of that name
    assert [item.name for item in schema(Target("table", TaskKind.CAPTIONING)).inputs] == ["note", "table_"]


@pytest.mark.parametrize(
    "changed", [{"max_length": 0}, {"pieces": [*SPECIAL_PIECES, "a", "a"]}, {"pieces": None, "max_length": "x"}]
)
def test_a_damaged_vocabulary_is_refused(changed):
    data = {"caption": learnt(["ab"]).to_json() | changed}
    with pytest.raises(ArtefactError, match="caption"):
        preprocessors_from_json(data)
