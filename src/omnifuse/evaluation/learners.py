"""Simple learners by scikit-learn with one interface for classification, tagging and regression.

The strength of a linear model or support vector machine is chosen on a fifth of the training rows, so that the baseline
is not made weak by a bad constant.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.evaluation.calibration import best_temperature
from omnifuse.readout.target_readout import log_softmax
from omnifuse.schema import TaskKind

MOST_CHOICE_ROWS = 2_000


@dataclass(frozen=True)
class Learner:
    """A family of scikit-learn estimators.

    Attributes:
        classifier: Strength, number of classes and seed to an estimator.
        regressor: Strength and seed to an estimator.
        strengths: Candidates; the best on held-out training rows is taken.
        max_rows: More training rows are thinned at random.
    """

    classifier: Callable[[float, int, int], Any]
    regressor: Callable[[float, int], Any]
    strengths: tuple[float, ...]
    max_rows: int


def _logistic(strength: float, num_classes: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=200, tol=1e-3)


def _ridge(strength: float, seed: int) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=1.0 / strength)


def _vector_classifier(strength: float, num_classes: int, seed: int) -> Any:
    from sklearn.svm import SVC

    return SVC(C=strength, gamma="scale", decision_function_shape="ovr", cache_size=200)


def _vector_regressor(strength: float, seed: int) -> Any:
    from sklearn.svm import SVR

    return SVR(C=strength, gamma="scale", cache_size=200)


def _boosted_classifier(strength: float, num_classes: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # One tree a class and round: the work stays the same with many classes
    rounds = int(np.clip(500 // max(num_classes, 1), 20, 100))
    return HistGradientBoostingClassifier(
        max_iter=rounds, max_leaf_nodes=15, min_samples_leaf=10, max_bins=128, learning_rate=strength, random_state=seed
    )


def _boosted_regressor(strength: float, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=100, max_leaf_nodes=15, min_samples_leaf=10, max_bins=128, learning_rate=strength, random_state=seed
    )


LINEAR = Learner(_logistic, _ridge, (0.01, 0.1, 1.0, 10.0), 20_000)
SPARSE_LINEAR = Learner(_logistic, _ridge, (1.0, 10.0), 20_000)
VECTOR_MACHINE = Learner(_vector_classifier, _vector_regressor, (1.0, 10.0), 5_000)
TREES = Learner(_boosted_classifier, _boosted_regressor, (0.1,), 20_000)


def prior_scores(kind: TaskKind, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(C,) shares of classes or tags, or (1,) mean of values; even shares or 0 without labels."""
    if kind is TaskKind.REGRESSION:
        return np.array([labels.mean() if len(labels) else 0.0])
    if not len(labels):
        return np.full(num_classes, 1.0 / max(num_classes, 1))
    if kind is TaskKind.TAGGING:
        return np.asarray(labels.mean(axis=0, dtype=np.float64))
    return np.bincount(labels, minlength=num_classes) / len(labels)


def learn_and_answer(
    learner: Learner, kind: TaskKind, train: Any, labels: np.ndarray, asked: Any, *, num_classes: int, seed: int
) -> np.ndarray:
    """Fit on some rows and answer others.

    Args:
        learner: What to fit.
        kind: Classification, ordinal (as classes without order), tagging or regression.
        train: (N, features) array or sparse matrix.
        labels: (N,) classes or values, or (N, C) tags, all known.
        asked: (Q, features).
        num_classes: C; 1 for regression.
        seed: Of thinning, choice and learner.

    Returns:
        (Q, C) probabilities, or (Q,) values.
    """
    random = np.random.default_rng(seed)
    if len(labels) > learner.max_rows:
        kept = np.sort(random.choice(len(labels), learner.max_rows, replace=False))
        train, labels = train[kept], labels[kept]
    if kind is TaskKind.TAGGING:
        tags = [_classify(learner, train, column.astype(np.int64), asked, 2, seed)[:, 1] for column in labels.T]
        return np.stack(tags, axis=1)
    if kind.chooses_class:
        return _classify(learner, train, labels, asked, num_classes, seed)
    return _regress(learner, train, labels, asked, seed)


def _fit(estimator: Any, train: Any, labels: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # On tables of this size trees take longer to wake a second thread for each node than to do its work
    with warnings.catch_warnings(), threadpool_limits(1, "openmp"):
        # A limit on iterations is meant: the score counts, not the last digit of a coefficient
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(train, labels)


def _inner_split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and a fifth to choose by, of at most 2,000 rows."""
    order = np.random.default_rng(seed).permutation(count)[:MOST_CHOICE_ROWS]
    return order[len(order) // 5 :], order[: len(order) // 5]


def _spread(estimator: Any, values: np.ndarray, num_classes: int, missing: float) -> np.ndarray:
    """(Q, C) from the columns of the classes that the estimator has seen."""
    result = np.full((len(values), num_classes), missing)
    result[:, np.asarray(estimator.classes_, np.int64)] = values
    return result


def _logits(estimator: Any, asked: Any, num_classes: int) -> np.ndarray:
    """(Q, C) unscaled log-probabilities; classes never seen are very unlikely."""
    if hasattr(estimator, "predict_proba"):
        return _spread(estimator, np.log(np.maximum(estimator.predict_proba(asked), 1e-9)), num_classes, -20.7)
    decision = np.asarray(estimator.decision_function(asked), np.float64)
    if decision.ndim == 1:
        decision = np.stack([-decision / 2, decision / 2], axis=1)
    return _spread(estimator, decision, num_classes, float(decision.min()) - 5.0 if len(decision) else 0.0)


def _classify(learner: Learner, train: Any, labels: np.ndarray, asked: Any, num_classes: int, seed: int) -> np.ndarray:
    if len(np.unique(labels)) < 2:
        return np.tile(prior_scores(TaskKind.CLASSIFICATION, labels, num_classes), (asked.shape[0], 1))
    strength, temperature = _choose_classifier(learner, train, labels, num_classes, seed)
    estimator = _fit(learner.classifier(strength, num_classes, seed), train, labels)
    return np.asarray(np.exp(log_softmax(_logits(estimator, asked, num_classes) / temperature)))


def _choose_classifier(
    learner: Learner, train: Any, labels: np.ndarray, num_classes: int, seed: int
) -> tuple[float, float]:
    """Strength and temperature of least log loss on a fifth of the rows."""
    inner, held = _inner_split(len(labels), seed)
    if len(held) < 5 or len(np.unique(labels[inner])) < 2 or len(learner.strengths) == 1:
        return learner.strengths[len(learner.strengths) // 2], 1.0
    found = []
    for strength in learner.strengths:
        estimator = _fit(learner.classifier(strength, num_classes, seed), train[inner], labels[inner])
        logits = _logits(estimator, train[held], num_classes)
        scale = 1.0 if hasattr(estimator, "predict_proba") else _temperature(logits, labels[held])
        log_probabilities = log_softmax(logits / scale)
        found.append((float(-log_probabilities[np.arange(len(held)), labels[held]].mean()), strength, scale))
    _, strength, scale = min(found)
    return strength, scale


def _temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    return best_temperature(TaskKind.CLASSIFICATION, logits[None], labels)


def _regress(learner: Learner, train: Any, labels: np.ndarray, asked: Any, seed: int) -> np.ndarray:
    mean, scale = float(labels.mean()), float(labels.std()) or 1.0
    wanted = (labels - mean) / scale
    strength = _choose_regressor(learner, train, wanted, seed)
    estimator = _fit(learner.regressor(strength, seed), train, wanted)
    return np.asarray(estimator.predict(asked), np.float64) * scale + mean


def _choose_regressor(learner: Learner, train: Any, wanted: np.ndarray, seed: int) -> float:
    inner, held = _inner_split(len(wanted), seed)
    if len(held) < 5 or len(learner.strengths) == 1:
        return learner.strengths[len(learner.strengths) // 2]
    errors = []
    for strength in learner.strengths:
        estimator = _fit(learner.regressor(strength, seed), train[inner], wanted[inner])
        errors.append((float(((estimator.predict(train[held]) - wanted[held]) ** 2).mean()), strength))
    return min(errors)[1]
