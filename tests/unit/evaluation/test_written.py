"""Scores of written texts are those of the measures themselves, with intervals; what stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.evaluation.captions import score_captions
from omnifuse.evaluation.metrics import MAIN_METRIC
from omnifuse.evaluation.transcripts import score_transcripts
from omnifuse.evaluation.written import MEASURES, references_of, written_details, written_scores
from omnifuse.schema import TaskKind

SAID = ["one two three", None, "four", "Five, six!", ""]
HEARD = ["one too three", "x", "four four", "five six", ""]


def test_the_main_metric_leads():
    for kind, measures in MEASURES.items():
        ones = np.ones((1, 1))
        assert next(iter(measures[0]([("a b",)], ["a b"])(ones))) == MAIN_METRIC[kind]


def test_error_rates_are_those_of_whole_transcripts():
    found, whole = written_scores(TaskKind.TRANSCRIPTION, SAID, HEARD), score_transcripts(SAID, HEARD)
    assert found["word_error_rate"]["value"] == pytest.approx(2 / 6) == pytest.approx(whole.word_error_rate["value"])
    assert found["character_error_rate"]["value"] == pytest.approx(whole.character_error_rate["value"])
    assert found["word_error_rate"]["low"] < 2 / 6 < found["word_error_rate"]["high"]
    # To the letter, not as words
    assert found["exact_match"]["value"] == pytest.approx(1 / 4)


def test_each_kind_of_error_and_the_worst_utterances_are_named():
    details = written_details(TaskKind.TRANSCRIPTION, SAID, HEARD, [10, 11, 12, 13, 14])
    assert [details[name] for name in ("words", "substitutions", "deletions", "insertions")] == [6, 1, 0, 1]
    assert [(item["row"], item["errors"], item["words"]) for item in details["worst"]] == [(12, 1, 1), (10, 1, 3)]
    assert details["normaliser"] == "basic"
    assert written_details(TaskKind.ANSWERING, SAID, HEARD, range(5)) == {}


def test_captions_of_one_picture_are_references_of_each_other():
    truths = ["a red car on the road", "the red car drives by", "a dog runs in the park", None]
    answers = ["a red car on a road"] * 2 + ["a dog runs in the park", "a cat"]
    shown = ["one", "one", "two", "two"]
    references = references_of(truths, shown)
    assert references == [tuple(truths[:2]), (truths[1], truths[0]), (truths[2],)]
    found, whole = (
        written_scores(TaskKind.CAPTIONING, truths, answers, shown=shown),
        score_captions(references, answers[:3]),
    )
    assert found["cider_d"]["value"] == pytest.approx(whole.cider_d["value"])
    assert found["rouge_l"]["value"] == pytest.approx(whole.rouge_l["value"])
    assert found["bleu_4"]["value"] == pytest.approx(whole.bleu[3])
    alone = written_scores(TaskKind.CAPTIONING, truths, answers)
    assert alone["bleu_4"]["value"] < found["bleu_4"]["value"]


def test_weights_count_as_repeated_rows():
    truths, answers = [("a b c d e",), ("f g h i",), ("a b",)], ["a b c d x", "f g h i", "a"]
    weights = np.array([[2.0], [0.0], [1.0]])
    again = [truths[0], truths[0], truths[2]], [answers[0], answers[0], answers[2]]
    for name in ("word_error_rate", "character_error_rate"):
        measure = MEASURES[TaskKind.TRANSCRIPTION][0]
        assert measure(truths, answers)(weights)[name] == pytest.approx(measure(*again)(np.ones((3, 1)))[name])
    bleu = MEASURES[TaskKind.CAPTIONING][0]
    assert bleu(truths, answers)(weights)["bleu_4"] == pytest.approx(bleu(*again)(np.ones((3, 1)))["bleu_4"])
    assert np.isnan(bleu(truths, answers)(np.zeros((3, 1)))["bleu_4"]).all()
