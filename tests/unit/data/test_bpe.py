"""Text targets: back to the very text, the same pieces every time, and nothing lost without being counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnifuse.data.bpe import END_ID, REPLACEMENT, SPACE, SPECIAL_PIECES, START_ID, UNKNOWN_ID, TargetTokenizer
from omnifuse.data.normalisers import NORMALISERS, normaliser
from omnifuse.errors import ArtefactError, InputError

TEXTS = [
    "the red car stands before the red house",
    "a blue car, and then another blue car!",
    "she said: don't stop the blue bus",
    "the house of the blue bus\nhas two  doors",
] * 5
ALPHABET = sorted(set("".join(TEXTS)))


@pytest.mark.parametrize("units", ["bpe", "characters"])
@pytest.mark.parametrize("name", list(NORMALISERS))
@given(text=st.text(ALPHABET, max_size=60))
@settings(max_examples=30)
def test_the_very_text_comes_back(units, name, text):
    tokenizer = fitted(units, name)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.normalise(text)
    assert UNKNOWN_ID not in ids
    assert all(4 <= index < tokenizer.vocab_size for index in ids)


def fitted(units, name, made={}):  # noqa: B006 - made once for all examples
    if (units, name) not in made:
        made[units, name] = TargetTokenizer.fit(TEXTS, units=units, normaliser=name, vocab_size=80)
    return made[units, name]


def test_merges_make_common_words_one_piece():
    tokenizer = TargetTokenizer.fit(TEXTS, vocab_size=120)
    assert [tokenizer.pieces[index] for index in tokenizer.encode("the blue car")] == [
        f"{SPACE}the",
        f"{SPACE}blue",
        f"{SPACE}car",
    ]
    assert len(tokenizer.encode("the blue car")) < len(fitted("characters", "basic").encode("the blue car"))
    assert tokenizer.vocab_size <= 120
    assert TargetTokenizer.fit(TEXTS, vocab_size=40).vocab_size <= 40


def test_no_piece_reaches_across_a_space_or_a_comma():
    tokenizer = TargetTokenizer.fit(["red, car"] * 50, vocab_size=200, normaliser="none")
    for piece in tokenizer.pieces[4:]:
        assert SPACE not in piece[1:]
        assert "," not in piece or piece == ","


def test_the_same_texts_give_the_same_tokenizer():
    one, two = (TargetTokenizer.fit(TEXTS, vocab_size=100) for _ in range(2))
    assert one == two
    again = TargetTokenizer.from_json(json.loads(json.dumps(one.to_json())))
    assert again == one
    assert again.encode("the red house") == one.encode("the red house")


def test_unknown_characters_are_counted():
    tokenizer = fitted("bpe", "basic")
    assert tokenizer.unknown_characters(["the zoo", None, "z\u4f60"]) == {"z": 2, "\u4f60": 1}
    ids = tokenizer.encode("a z")
    assert ids.count(UNKNOWN_ID) == 1
    assert tokenizer.decode(ids) == f"a {REPLACEMENT}"


def test_no_text_becomes_a_special_piece():
    tokenizer = TargetTokenizer.fit(["[START] [END] [UNK]"] * 20, normaliser="none", vocab_size=100)
    for special in SPECIAL_PIECES:
        assert not set(tokenizer.encode(f"a {special} b")) & {0, START_ID, END_ID}
    assert tokenizer.decode(tokenizer.encode("[START] [END]")) == "[START] [END]"
    assert tokenizer.decode([START_ID, *tokenizer.encode("[UNK]"), END_ID, 0, 999, -5]) == "[UNK]"


def test_the_sign_of_the_space_is_an_unknown_character():
    tokenizer = fitted("bpe", "none")
    assert tokenizer.decode(tokenizer.encode(f"a{SPACE}car")) == f"a{REPLACEMENT}car"
    assert sum(tokenizer.unknown_characters([f"a{SPACE}car"]).values()) == 1


def test_lengths_and_odd_values():
    tokenizer = TargetTokenizer.fit(TEXTS, units="characters", max_length=5)
    assert len(tokenizer.encode("the red car")) == 5
    assert tokenizer.is_cut("the red car")
    assert not tokenizer.is_cut("the")
    assert tokenizer.is_cut("  " * 20_000)
    assert tokenizer.encode("") == []
    assert tokenizer("")["ids"].dtype == tokenizer.empty()["ids"].dtype == np.int32
    assert tokenizer.encode(b"the") == tokenizer.encode("the")
    assert tokenizer.encode("\ud800 \x00") == []
    assert TargetTokenizer.fit([], units="bpe").decode([]) == ""
    assert fitted("bpe", "none").decode(fitted("bpe", "none").encode("\ud800a")) == f"{REPLACEMENT}a"


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="no units 'word'"):
        TargetTokenizer.fit(TEXTS, units="word")
    with pytest.raises(InputError, match="no text normaliser 'basik'"):
        TargetTokenizer.fit(TEXTS, normaliser="basik")
    with pytest.raises(InputError, match="vocab_size"):
        TargetTokenizer.fit(TEXTS, vocab_size=3)
    good = TargetTokenizer.fit(TEXTS).to_json()
    for damage in ({"pieces": ["a"]}, {"merges": [["q", "zz"]]}, {"merges": [["a"]]}, {"max_length": "x"}):
        with pytest.raises(ArtefactError, match="tokenizer cannot be read"):
            TargetTokenizer.from_json({**good, **damage})
    with pytest.raises(ArtefactError, match="tokenizer cannot be read"):
        TargetTokenizer.from_json({})


@pytest.mark.parametrize(
    ("text", "lower", "basic"),
    [
        ("Don\u2019t  STOP!", "don\u2019t stop!", "don't stop"),
        ("co-operate, \uff21\uff22", "co-operate, ab", "co operate ab"),
        ("Stra\u00dfe 5\u20ac", "strasse 5\u20ac", "strasse 5"),
        (" 'quoted' rock'n'roll ", "'quoted' rock'n'roll", "quoted rock'n'roll"),
        ("\u4f60\u597d\uff0c\u4e16\u754c", "\u4f60\u597d,\u4e16\u754c", "\u4f60\u597d \u4e16\u754c"),
        ("", "", ""),
    ],
)
def test_normalisers(text, lower, basic):
    assert normaliser("none")(text) == text
    assert normaliser("lower")(text) == lower
    assert normaliser("basic")(text) == basic


@given(text=st.text(max_size=50))
def test_normalising_twice_changes_nothing(text):
    for name in ("lower", "basic"):
        once = normaliser(name)(text)
        assert normaliser(name)(once) == once
