"""Plain references of the sets whose text decides: words and signs as tf-idf, logistic regression.

Utterances: with the speaker. Tweets: the text alone, once as the classes are and once with rare classes weighted up,
since the one is better at accuracy and the other at macro F1. Strength and pattern were chosen on training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rows = list[dict[str, str]]
Answer = Callable[[Rows, Path], np.ndarray]
# Exclamation and question marks count as words
WORDS_AND_SIGNS = r"\w+|[^\w\s]"
FEWEST_LINES = 10


def utterances(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    """Words, signs, pairs of them, and the speaker."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder

    words = TfidfVectorizer(token_pattern=WORDS_AND_SIGNS, ngram_range=(1, 2), sublinear_tf=True)
    speaker = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=FEWEST_LINES)
    words.fit([row["Utterance"] for row in rows])
    speaker.fit([[row["Speaker"]] for row in rows])

    def features(found: Rows) -> Any:
        said = words.transform([row["Utterance"] for row in found])
        return hstack([said, speaker.transform([[row["Speaker"]] for row in found])]).tocsr()

    model = LogisticRegression(C=2.0, max_iter=1000).fit(features(rows), codes)
    return (
        "tf-idf of words, signs and pairs of the utterance, and the speaker, logistic regression",
        lambda found, _: model.predict_proba(features(found)),
    )


def _tweets(rows: Rows, codes: np.ndarray, model: Any) -> Answer:
    model.fit([row["text"] for row in rows], codes)
    return lambda found, _: np.asarray(model.predict_proba([row["text"] for row in found]))


def tweets(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    """Words and pairs of them, classes as they are."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(max_iter=1000))
    return "tf-idf of words and pairs of the text, logistic regression", _tweets(rows, codes, model)


def weighted_tweets(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    """Words, signs and pairs of them, rare classes weighted up."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(token_pattern=WORDS_AND_SIGNS, ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(max_iter=1000, class_weight="balanced"))
    return (
        "tf-idf of words, signs and pairs of the text, logistic regression with balanced classes",
        _tweets(rows, codes, model),
    )
