"""Settings of writing, choices, and the answer of a written target."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.evaluation import written_scores
from omnifuse.readout.predictions import text_answer
from omnifuse.readout.writing import Constraint, Writing
from omnifuse.schema import Hypothesis, Prediction, TaskKind


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "beem"}, "did you mean 'beam'"),
        ({"beams": 1000}, "beams is 1000"),
        ({"method": "greedy", "num": 2}, "num is 2 with the method greedy"),
        ({"length_power": -1.0}, "length_power is -1"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"ctc": 2.0}, "ctc is 2"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_without_meaning_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Writing(**options)


def test_choices_form_a_tree_of_ids():
    constraint = Constraint.of_texts([[4, 5], [4, 6], [4, 5]], 7, end=2)
    assert constraint.following.shape == (4, 7)
    assert (constraint.following >= 0).sum(axis=1).tolist() == [1, 2, 1, 1]
    with pytest.raises(InputError, match="no text may be written"):
        Constraint.of_texts([], 7, end=2)


def test_the_best_text_answers_with_the_mean_chance_of_its_ids():
    found = text_answer((Hypothesis("ab", -0.1, 3 * math.log(0.5), True, 3), Hypothesis("b", -2.0, -4.0, False, 2)))
    assert (found.value, found.confidence) == ("ab", pytest.approx(0.5))
    data = Prediction(0, {"y": found}).to_json()["targets"]["y"]
    assert [item["text"] for item in data["hypotheses"]] == ["ab", "b"]
    assert text_answer(()).value is None
    assert text_answer(()).abstained


def test_scores_leave_out_rows_without_a_text_and_draw_whole_groups():
    truths, answers = ["a", None, "b", "c"], ["a", "z", "b", "x"]
    found = written_scores(TaskKind.CAPTIONING, truths, answers)["exact_match"]
    assert found["value"] == pytest.approx(2 / 3)
    assert found["low"] <= found["value"] <= found["high"]
    grouped = written_scores(TaskKind.CAPTIONING, truths, answers, groups=np.zeros(4, int))["exact_match"]
    assert grouped == {"value": pytest.approx(2 / 3), "low": None, "high": None}
    caption = written_scores(TaskKind.CAPTIONING, truths, answers)
    assert list(caption) == ["cider_d", "bleu_4", "rouge_l", "exact_match"]
    assert written_scores(TaskKind.TRANSCRIPTION, [None], ["a"])["word_error_rate"]["value"] is None
    assert written_scores(TaskKind.ANSWERING, [None], ["a"])["exact_match"]["value"] is None
