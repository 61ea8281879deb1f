"""Text to token ids and back, in any language."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnifuse.data import text as text_module
from omnifuse.data.text import CLASS_ID, PAD_ID, UNKNOWN_ID, TextPreprocessor, clean_text
from omnifuse.errors import ArtefactError, InputError

TEXTS = [
    "The red car stood in the rain.",
    "a blue car, a red lamp and the rain",
    "Der rote Wagen stand im Regen",
    "\u7ea2\u8272\u7684\u6c7d\u8f66\u5728\u96e8\u4e2d",
    "\u0645\u0637\u0631 \u0641\u064a \u0627\u0644\u0645\u062f\u064a\u0646\u0629",
    "\u0434\u043e\u0436\u0434\u044c \u0438\u0434\u0451\u0442",
    None,
    42,
] * 3


@pytest.fixture(scope="module")
def fitted():
    return TextPreprocessor.fit(TEXTS)


def test_ids_and_tokens(fitted):
    ids = fitted("The RED car")["ids"]
    assert ids.dtype == np.int32
    assert fitted.tokens("The RED car") == ["the", "red", "car"]
    assert fitted.tokens("The RED car") == fitted.tokens("the red car")
    assert (ids > CLASS_ID).all()
    assert ids.max() < fitted.vocab_size
    assert fitted("\u7ea2\u8272")["ids"].shape == (2,)
    assert fitted(42)["ids"].tolist() == fitted("42")["ids"].tolist()
    assert fitted(b"red")["ids"].tolist() == fitted("red")["ids"].tolist()


@pytest.mark.parametrize("text", [text for text in TEXTS[:6] if text])
def test_words_come_back(fitted, text):
    def bare(line):
        return "".join(letter for letter in line.lower() if not letter.isspace())

    assert bare(fitted.decode(fitted(text)["ids"])) == bare(text)


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\u0000", None])
def test_nothing_visible_is_one_unknown_token(fitted, text):
    if text is not None:
        assert fitted(text)["ids"].tolist() == [UNKNOWN_ID]
    assert fitted.decode([PAD_ID, UNKNOWN_ID]) == ""


@pytest.mark.parametrize("text", ["[CLS] red [PAD]", "[MASK]", "##red"])
def test_no_text_becomes_a_special_token(fitted, text):
    assert not set(fitted(text)["ids"].tolist()) & {PAD_ID, 2, CLASS_ID}


def test_length_is_limited():
    fitted = TextPreprocessor.fit(TEXTS, max_length=3, max_chars=9)
    assert len(fitted("the red car in the rain")["ids"]) == 3
    assert fitted("red " * 2 + "x")["ids"].tolist() == fitted("red " * 2 + "xy")["ids"].tolist()


def test_vocabulary_is_limited_and_training_text_too(monkeypatch):
    assert TextPreprocessor.fit(TEXTS, vocab_size=40).vocab_size <= 40
    monkeypatch.setattr(text_module, "MAX_TRAINING_CHARS", 10)
    seen = []
    TextPreprocessor.fit(seen.append(number) or "abcdef" for number in range(100))
    assert len(seen) <= 3


def test_same_rows_give_the_same_vocabulary_to_the_bit():
    assert TextPreprocessor.fit(TEXTS) == TextPreprocessor.fit(list(TEXTS))


def test_case_can_be_kept():
    kept = TextPreprocessor.fit(["Red red RED"] * 3, lowercase=False)
    assert kept.tokens("Red red RED") == ["Red", "red", "RED"]


@given(st.text(max_size=60))
def test_any_text_gives_valid_ids(fitted, text):
    ids = fitted(text)["ids"]
    assert 1 <= len(ids) <= fitted.max_length
    assert ((ids >= 0) & (ids < fitted.vocab_size)).all()
    assert np.array_equal(ids, fitted(text)["ids"])
    fitted.decode(ids)


@given(st.lists(st.sampled_from(["the", "red", "blue", "car", "lamp", "rain", "stood"]), min_size=1, max_size=20))
def test_round_trip_of_known_words(fitted, words):
    assert fitted.decode(fitted(" ".join(words))["ids"]) == " ".join(words)


@given(st.lists(st.text(min_size=1, max_size=12), max_size=12))
def test_any_cells_can_be_learnt(cells):
    fitted = TextPreprocessor.fit(cells, vocab_size=64)
    assert fitted.vocab_size <= 64
    assert TextPreprocessor.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


def test_json_round_trip(fitted):
    again = TextPreprocessor.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    assert again("the red car")["ids"].tolist() == fitted("the red car")["ids"].tolist()


@pytest.mark.parametrize("damage", ["not json", "{}", '{"model": {"vocab": {}, "merges": []}}', "[1]", "null"])
def test_damaged_tokenizers_are_refused(fitted, damage):
    with pytest.raises(ArtefactError, match=r"The stored tokenizer cannot be read"):
        TextPreprocessor.from_json({**fitted.to_json(), "tokenizer": damage})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model["vocab"].update({"[PAD]": 9999}), "special tokens are not the first four"),
        (lambda model: model["vocab"].update(extra=99999), "ids are not 0 to vocabulary size - 1"),
        (lambda model: model["merges"].append(["zz", "yy"]), "cannot be read"),
    ],
)
def test_changed_tokenizers_are_refused(fitted, change, words):
    stored = json.loads(fitted.tokenizer_json)
    change(stored["model"])
    with pytest.raises(ArtefactError, match=words):
        TextPreprocessor.from_json({**fitted.to_json(), "tokenizer": json.dumps(stored)})


def test_wrong_options():
    with pytest.raises(InputError, match=r"vocab_size must be at least 16, received 3"):
        TextPreprocessor.fit(["a"], vocab_size=3)
    with pytest.raises(InputError, match=r"max_length and max_chars must be at least 1, received 0 and 5"):
        TextPreprocessor("{}", 0, True, 5)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("a\tb\x00c\x9fd", "a b c d"),
        ("re\u200bd\u202e \ufeffcar", "red car"),
        ("\ud83d\ude00", "\U0001f600"),
        ("x\ud800", "x\ufffd"),
        (b"\xc3\xa9\xff", "\u00e9\ufffd"),
        (1.5, "1.5"),
        ("x" * 30_000, "x" * 20_000),
    ],
)
def test_clean_text(cell, text):
    assert clean_text(cell) == text


@given(st.one_of(st.text(st.characters(exclude_categories=()), max_size=50), st.binary(max_size=50), st.integers()))
def test_clean_text_can_always_be_written(cell):
    text = clean_text(cell)
    assert text.encode("utf-8").decode() == text
    assert clean_text(text) == text
