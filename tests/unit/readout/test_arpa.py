"""ARPA files: what was written is read back, files of others are understood, damaged ones are named by their line."""

from __future__ import annotations

import math

import pytest

from omnifuse.errors import InputError
from omnifuse.readout.arpa import read_arpa, write_arpa
from omnifuse.readout.ngram import NgramModel

SENTENCES = [line.split() for line in ("a red car", "a blue car", "the red bus", "a red bus", "the car")]
# Written by hand; values to base 10
OTHER = """Some words before it

\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<UNK>
-99\t<s>\t-0.3
-0.6\t</s>
-0.5\tyes\t-0.2
-0.7\tno

\\2-grams:
-0.1\t<s> yes
-0.4\tyes </s>

\\end\\
"""


def test_a_written_model_is_read_back(tmp_path):
    model = NgramModel.fit(SENTENCES, order=3)
    write_arpa(model, tmp_path / "lm.arpa")
    again = read_arpa(tmp_path / "lm.arpa")
    assert again.order == 3
    assert set(again.vocabulary) == set(model.vocabulary)
    for sentence in [*SENTENCES, ["bus", "blue", "never"], []]:
        assert again.log_probability(sentence) == pytest.approx(model.log_probability(sentence), abs=1e-6)


def test_a_file_of_others_is_understood(tmp_path):
    (tmp_path / "lm.arpa").write_text(OTHER)
    model = read_arpa(tmp_path / "lm.arpa")
    ln10 = math.log(10)
    assert model.log_probability(["yes"]) == pytest.approx((-0.1 - 0.4) * ln10)
    assert model.log_probability(["no"]) == pytest.approx((-0.3 - 0.7 - 0.6) * ln10)
    # "yes" leaves the mass -0.2 to what never followed it
    assert model.log_probability(["yes", "what"]) == pytest.approx((-0.1 - 0.2 - 1.0 - 0.6) * ln10)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: "", "0 n-grams were announced"),
        (lambda text: text.replace("\\end\\", ""), "2 were|7 n-grams were announced, 7 are there"),
        (lambda text: text.replace("-0.4\tyes </s>\n", ""), "7 n-grams were announced, 6 are there"),
        (lambda text: text.replace("-0.7\tno", "-0.7"), "line 12"),
        (lambda text: text.replace("-0.7\tno", "x\tno"), "a number was expected"),
        (lambda text: text.replace("-0.7\tno", "nan\tno"), "no probability"),
        (lambda text: text.replace("-0.7\tno", "0.7\tno"), "no probability"),
        (lambda text: text.replace("<s> yes", "<s> maybe"), "'maybe' is in an n-gram"),
        (lambda text: text.replace("\\2-grams:", "\\3-grams:"), "was not announced"),
    ],
)
def test_damage_is_named(tmp_path, damage, words):
    (tmp_path / "lm.arpa").write_text(damage(OTHER))
    with pytest.raises(InputError, match=words):
        read_arpa(tmp_path / "lm.arpa")


def test_other_bytes_and_absent_files_are_refused(tmp_path):
    (tmp_path / "lm.bin").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InputError, match="no readable ARPA"):
        read_arpa(tmp_path / "lm.bin")
    with pytest.raises(InputError, match="there is no language model 'none'"):
        read_arpa(tmp_path / "none")


def test_tokens_with_blanks_are_not_written(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_arpa(NgramModel.fit([["a", " "]], order=2), tmp_path / "lm.arpa")
