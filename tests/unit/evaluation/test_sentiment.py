"""Measures of sentiment against scikit-learn and SciPy, and the two manners of two classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

from omnifuse.errors import InputError
from omnifuse.evaluation.sentiment import score_sentiment


def made(seed, rows=300):
    random = np.random.default_rng(seed)
    label = np.round(random.uniform(-3, 3, rows) * 3) / 3
    label[random.random(rows) < 0.2] = 0
    return label, label + random.normal(0, 1.2, rows)


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed):
    label, answer = made(seed)
    found = score_sentiment(label, answer)
    assert found["acc_2_has0"] == pytest.approx(accuracy_score(label >= 0, answer >= 0))
    assert found["f1_has0"] == pytest.approx(f1_score(label >= 0, answer >= 0, average="weighted"))
    polar = label != 0
    assert found["acc_2_non0"] == pytest.approx(accuracy_score(label[polar] > 0, answer[polar] > 0))
    assert found["f1_non0"] == pytest.approx(f1_score(label[polar] > 0, answer[polar] > 0, average="weighted"))
    sevens = [np.round(np.clip(values, -3, 3)).astype(int) for values in (label, answer)]
    assert found["acc_7"] == pytest.approx(accuracy_score(*sevens))
    assert found["mean_absolute_error"] == pytest.approx(np.abs(label - answer).mean())
    assert found["correlation"] == pytest.approx(pearsonr(label, answer).statistic)


def test_the_two_manners_differ_on_neutral_rows_alone():
    found = score_sentiment(np.array([0.0, 0.0, 1.0, -1.0]), np.array([-0.5, 0.5, 1.0, -1.0]))
    assert (found["acc_2_has0"], found["acc_2_non0"]) == (0.75, 1.0)


def test_nothing_and_no_spread():
    assert set(score_sentiment(np.zeros(0), np.zeros(0)).values()) == {None}
    known = score_sentiment(np.array([np.nan, 1.0, 2.0]), np.array([np.nan, 0.5, 0.5]))
    assert known["correlation"] is None
    assert known["mean_absolute_error"] == 1.0
    neutral = score_sentiment(np.zeros(3), np.ones(3))
    assert (neutral["acc_2_non0"], neutral["f1_non0"], neutral["acc_2_has0"]) == (None, None, 1.0)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="not for labels"):
        score_sentiment(np.zeros(3), np.zeros(2))
    with pytest.raises(InputError, match="not a finite number"):
        score_sentiment(np.zeros(2), np.array([0.0, np.nan]))
