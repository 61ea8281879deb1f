"""The class that is answered, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from omnifuse.readout import TargetReadout
from omnifuse.readout.decision import choose_classes
from omnifuse.readout.predictions import answer_of
from omnifuse.schema import Target, TaskKind

PRIOR = np.array([0.81, 0.09, 0.1])
KIND = TargetReadout(
    Target("kind", TaskKind.CLASSIFICATION, ("usual", "rare", "other")), ("note",), threshold=0.3, prior=tuple(PRIOR)
)


@pytest.mark.parametrize(("tilt", "expected"), [(0.0, 0), (0.5, 1), (1.0, 1)])
def test_a_rare_class_wins_over_a_usual_one_by_its_share_to_a_power(tilt, expected):
    # 0.6 / 0.9 = 0.67 against 0.25 / 0.3 = 0.83 at a half
    assert choose_classes(np.array([[0.6, 0.25, 0.15]]), PRIOR, tilt).tolist() == [expected]


def test_even_classes_and_unknown_shares_leave_the_most_probable():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    for prior in (np.full(4, 0.25), np.zeros(0)):
        assert np.array_equal(choose_classes(probabilities, prior, 1.0), probabilities.argmax(axis=1))


def test_a_class_that_was_never_seen_breaks_nothing():
    assert choose_classes(np.array([[0.9, 0.1]]), np.array([1.0, 0.0]), 0.0).tolist() == [0]
    assert choose_classes(np.array([[1.0, 0.0]]), np.array([1.0, 0.0]), 1.0).tolist() == [0]


def test_the_answer_follows_the_tilt_and_its_confidence_is_its_probability():
    scores = np.array([0.6, 0.25, 0.15])
    assert answer_of(KIND, scores, proba=True).value == "usual"
    found = answer_of(replace(KIND, tilt=0.5), scores, proba=True)
    assert (found.value, found.confidence, found.abstained) == ("rare", 0.25, True)
    assert found.probabilities == {"usual": 0.6, "rare": 0.25, "other": 0.15}


def test_the_tilt_is_kept_and_older_readouts_have_none():
    tilted = replace(KIND, tilt=0.4)
    assert TargetReadout.from_json(tilted.to_json()) == tilted
    older = {name: value for name, value in tilted.to_json().items() if name != "tilt"}
    assert TargetReadout.from_json(older) == KIND
