"""Features that are fitted on training rows: scaled columns, levels, word counts, principal components.

Shapes: R rows of the table; what is asked of a `Features` are row numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Training and asked row numbers to their feature matrices, fitted on the former alone
Features = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]

SMALL_DIM = 32
MOST_LEVELS = 50
MOST_TERMS = 50_000
# Chinese characters stand alone, all else is cut at what is no letter or digit
_WORD = re.compile("[\u3400-\u9fff]|[^\\W\u3400-\u9fff]+")


def unchanged(values: np.ndarray) -> Features:
    """The values as they are, for trees; a column without any value in the training rows is 0."""

    def features(train: np.ndarray, asked: np.ndarray) -> tuple[Any, Any]:
        empty = np.isnan(values[train]).all(axis=0)
        return np.where(empty, 0.0, values[train]), np.where(empty, 0.0, values[asked])

    return features


def standardised(values: np.ndarray) -> Features:
    """Columns of mean 0 and deviation 1 over the training rows; what is missing becomes the mean."""

    def features(train: np.ndarray, asked: np.ndarray) -> tuple[Any, Any]:
        seen = values[train].astype(np.float64)
        there = ~np.isnan(seen)
        counts = np.maximum(there.sum(axis=0), 1)
        mean = np.where(there, seen, 0.0).sum(axis=0) / counts
        deviation = np.sqrt((np.where(there, seen - mean, 0.0) ** 2).sum(axis=0) / counts)
        scale = np.where(deviation > 1e-9, deviation, 1.0)
        return np.nan_to_num((seen - mean) / scale), np.nan_to_num((values[asked] - mean) / scale)

    return features


def one_hot(numbers: np.ndarray, categories: np.ndarray) -> Features:
    """Standardised numbers with flags of what is missing, and a column for each frequent level."""
    flagged = np.concatenate([numbers, np.isnan(numbers).astype(np.float32)], axis=1)

    def features(train: np.ndarray, asked: np.ndarray) -> tuple[Any, Any]:
        from sklearn.preprocessing import OneHotEncoder

        seen, wanted = standardised(flagged)(train, asked)
        if not categories.shape[1]:
            return seen, wanted
        encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_LEVELS, sparse_output=False)
        levels = encoder.fit_transform(categories[train])
        return np.hstack([seen, levels]), np.hstack([wanted, encoder.transform(categories[asked])])

    return features


def _terms(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return words + [f"{left} {right}" for left, right in itertools.pairwise(words)]


def word_counts(texts: list[str]) -> Features:
    """TF-IDF of words and pairs of words that occur in the training rows."""

    def features(train: np.ndarray, asked: np.ndarray) -> tuple[Any, Any]:
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import TfidfVectorizer

        seen, wanted = [texts[row] for row in train], [texts[row] for row in asked]
        if not any(_WORD.search(text) for text in seen):
            return csr_matrix((len(seen), 1)), csr_matrix((len(wanted), 1))
        few = len(seen) < 100
        vectorizer = TfidfVectorizer(
            analyzer=_terms, sublinear_tf=True, min_df=1 if few else 2, max_features=MOST_TERMS
        )
        try:
            return vectorizer.fit_transform(seen), vectorizer.transform(wanted)
        except ValueError:
            # No term occurs in two texts
            return csr_matrix((len(seen), 1)), csr_matrix((len(wanted), 1))

    return features


def reduced_components(full: Features, present: np.ndarray) -> Features:
    """At most 32 principal components, for the trees; NaN where the row lacks the input."""

    def features(train: np.ndarray, asked: np.ndarray) -> tuple[Any, Any]:
        from sklearn.utils.extmath import randomized_svd

        learnt = train[present[train]]
        if len(learnt) < 2:
            return np.zeros((len(train), 1)), np.zeros((len(asked), 1))
        rows = np.concatenate([train, asked])
        seen, wanted = full(learnt, rows[present[rows]])
        directions = randomized_svd(seen, min(SMALL_DIM, *seen.shape), random_state=0)[2]
        result = np.full((len(rows), len(directions)), np.nan)
        result[present[rows]] = wanted @ directions.T
        return result[: len(train)], result[len(train) :]

    return features


def joined(parts: Sequence[Features]) -> Features:
    """Features side by side."""

    def features(train: np.ndarray, asked: np.ndarray) -> tuple[Any, Any]:
        pairs = [part(train, asked) for part in parts]
        return np.hstack([seen for seen, _ in pairs]), np.hstack([wanted for _, wanted in pairs])

    return features
