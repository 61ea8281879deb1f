"""Scores of one target under scikit-learn's names, for many weightings of the rows at once.

A bootstrap resample is a weighting of the rows by whole numbers. So every metric here is a function of weights (R, S),
and a score with its thousand resamples costs some matrix products instead of a thousand calls.

Shapes: R rows, C classes or tags, S weightings, G groups of equal scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from omnifuse.schema import TaskKind

Measure = Callable[[np.ndarray], dict[str, np.ndarray]]
MAIN_METRIC = {
    TaskKind.CLASSIFICATION: "accuracy",
    TaskKind.TAGGING: "f1_micro",
    TaskKind.REGRESSION: "r2",
    TaskKind.ORDINAL: "quadratic_weighted_kappa",
    TaskKind.CAPTIONING: "cider_d",
    TaskKind.TRANSCRIPTION: "word_error_rate",
    TaskKind.ANSWERING: "exact_match",
}
LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
# Below this share of the sum of squares, a spread is rounding noise
_NO_SPREAD = 1e-12


def known_rows(kind: TaskKind, truth: np.ndarray) -> np.ndarray:
    """(R,) bool: rows whose label is known (not -1, no NaN; of a text, whose first id is not -1)."""
    if kind.chooses_class:
        return np.asarray(truth >= 0)
    if kind.writes:
        return np.asarray(truth[:, 0] >= 0)
    return np.asarray(~np.isnan(truth).any(axis=tuple(range(1, truth.ndim))))


def score(
    kind: TaskKind,
    truth: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    *,
    chosen: np.ndarray | None = None,
) -> dict[str, float | None]:
    """Score answers.

    Args:
        kind: Classification, ordinal, tagging or regression.
        truth: int64 (R,) with -1 = unknown, float (R, C) with NaN = unknown, or float (R,) with NaN = unknown. Unknown
            rows are left out.
        scores: (R, C) probabilities, or (R,) values.
        classes: The C classes or tags; empty for regression.
        chosen: For classification, (R,) numbers of the classes that are answered; the most probable ones by default.

    Returns:
        Metric name to value; None where it is not defined, for instance `roc_auc` with one class only. `accuracy` of
        tagging is that of whole tag sets. `roc_auc` of three and more classes is the mean, over the classes present, of
        each against the rest; that and `average_precision` of tagging are means over the tags that define them.
        Ordinal: `quadratic_weighted_kappa` is scikit-learn's `cohen_kappa_score(weights="quadratic")`, and
        `mean_absolute_error` counts levels.

    Example:
        >>> score(TaskKind.REGRESSION, np.array([1.0, 3.0]), np.array([1.0, 2.0]), ())
        {'r2': 0.5, 'mean_absolute_error': 0.5, 'root_mean_squared_error': 0.7071067811865476}
    """
    measure = measure_of(kind, truth, scores, classes, chosen=chosen)
    values = measure(np.ones((int(known_rows(kind, truth).sum()), 1)))
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def measure_of(
    kind: TaskKind,
    truth: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    *,
    chosen: np.ndarray | None = None,
) -> Measure:
    """The metrics as a function of weights.

    Args:
        kind: As for `score`.
        truth: As for `score`.
        scores: As for `score`.
        classes: As for `score`.
        chosen: As for `score`.

    Returns:
        A function of float64 weights (K, S) of the K known rows: metric name to (S,), NaN where it is not defined. Rows
        of weight 0 are as good as absent.
    """
    assert len(truth) == len(scores), f"{len(truth)} labels but {len(scores)} answers"
    known = known_rows(kind, truth)
    label, answer = truth[known], np.asarray(scores, np.float64)[known]
    assert np.isfinite(answer).all(), "answers hold NaN or infinity"
    if kind is TaskKind.REGRESSION:
        return _regression(np.asarray(label, np.float64), answer)
    assert answer.ndim == 2, f"scores have the shape {answer.shape}, expected (rows, classes)"
    assert answer.shape[1] == len(classes), f"{answer.shape[1]} scores a row but {len(classes)} classes"
    if kind is TaskKind.CLASSIFICATION:
        return _classification(label, answer, answer.argmax(axis=1) if chosen is None else chosen[known])
    return (_ordinal if kind is TaskKind.ORDINAL else _tagging)(label, answer)


def row_log_loss(label: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(R,) negative log-probability of the true class, never infinite."""
    total = np.maximum(probabilities.sum(axis=1), LEAST_PROBABILITY)
    chosen = probabilities[np.arange(len(label)), label] / total
    return np.asarray(-np.log(np.clip(chosen, LEAST_PROBABILITY, 1.0)))


def _divide(above: np.ndarray, below: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """Quotient, and `otherwise` where the divisor is not above 0."""
    good = below > 0
    return np.asarray(np.where(good, above / np.where(good, below, 1.0), otherwise))


def _mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean along axis 0 of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))


def _sums_by(group: np.ndarray, num_groups: int, rows: np.ndarray | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Function of weights (R, S) to their sums (G, S) over the rows of each group; only `rows` (bool) where given."""
    from scipy.sparse import csr_matrix

    index = np.flatnonzero(rows) if rows is not None else np.arange(len(group))
    matrix = csr_matrix((np.ones(len(index)), (group[index], index)), shape=(num_groups, len(group)))

    def sums(weights: np.ndarray) -> np.ndarray:
        return np.asarray(matrix @ weights)

    return sums


def _ranking(positive: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Function of weights to the area under the ROC curve (S,) and the average precision (S,).

    Rows of one score count as one group. Neighbouring groups without a positive row are joined: neither figure sees
    what lies between two positives, and rare classes become cheap.
    """
    if not len(scores):
        return lambda weights: (np.full(weights.shape[1], np.nan), np.full(weights.shape[1], np.nan))
    tie = np.unique(scores, return_inverse=True)[1]
    has_positive = np.bincount(tie, weights=positive) > 0
    joined = np.concatenate([[False], ~has_positive[1:] & ~has_positive[:-1]])
    group = (np.cumsum(~joined) - 1)[tie]
    num_groups = int(group.max()) + 1
    positives, negatives = _sums_by(group, num_groups, positive), _sums_by(group, num_groups, ~positive)

    def ranking(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        good, bad = positives(weights), negatives(weights)
        good_up_to, bad_up_to = np.cumsum(good, axis=0), np.cumsum(bad, axis=0)
        num_good, num_bad = good_up_to[-1], bad_up_to[-1]
        area = _divide((good * (bad_up_to - 0.5 * bad)).sum(axis=0), num_good * num_bad)
        good_from, bad_from = num_good - good_up_to + good, num_bad - bad_up_to + bad
        precision = _divide(good_from, good_from + bad_from, 0.0)
        return area, _divide((good * precision).sum(axis=0), num_good)

    return ranking


def _classification(label: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray) -> Measure:
    num_classes = probabilities.shape[1]
    losses = row_log_loss(label, probabilities)
    true_sums = _sums_by(label, num_classes)
    predicted_sums = _sums_by(predicted, num_classes)
    hit_sums = _sums_by(label, num_classes, predicted == label)
    ranked = [1] if num_classes == 2 else list(np.unique(label))
    rankings = [_ranking(label == number, probabilities[:, number]) for number in ranked]

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=0)
        true, guessed, hits = true_sums(weights), predicted_sums(weights), hit_sums(weights)
        f1 = _divide(2 * hits, true + guessed)
        areas = np.array([ranking(weights)[0] for ranking in rankings]).reshape(-1, weights.shape[1])
        return {
            "accuracy": _divide(hits.sum(axis=0), total),
            "balanced_accuracy": _mean_defined(_divide(hits, true)),
            "f1_macro": _mean_defined(f1),
            "f1_weighted": _divide((np.nan_to_num(f1) * true).sum(axis=0), total),
            "log_loss": _divide(losses @ weights, total),
            "roc_auc": _mean_defined(areas),
        }

    return measure


def _ordinal(label: np.ndarray, probabilities: np.ndarray) -> Measure:
    predicted = probabilities.argmax(axis=1)
    levels, answers = np.asarray(label, np.float64), predicted.astype(np.float64)
    losses = row_log_loss(label, probabilities)
    true_sums = _sums_by(label, probabilities.shape[1])
    hit_sums = _sums_by(label, probabilities.shape[1], predicted == label)

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=0)
        hits = hit_sums(weights)
        return {
            "quadratic_weighted_kappa": quadratic_kappa(
                (levels - answers) ** 2 @ weights,
                levels**2 @ weights + answers**2 @ weights,
                (levels @ weights) * (answers @ weights),
                total,
            ),
            "mean_absolute_error": _divide(np.abs(levels - answers) @ weights, total),
            "accuracy": _divide(hits.sum(axis=0), total),
            "balanced_accuracy": _mean_defined(_divide(hits, true_sums(weights))),
            "log_loss": _divide(losses @ weights, total),
        }

    return measure


def quadratic_kappa(squared: np.ndarray, squares: np.ndarray, product: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights from sums over rows; NaN where truth and answers are one and the same level.

    Args:
        squared: (S,) sum of (truth - answer)^2.
        squares: (S,) sum of truth^2 + answer^2.
        product: (S,) sum of truth times sum of answers.
        total: (S,) rows.

    References: Cohen 1968, Weighted kappa. With weights (i - j)^2 the disagreement that chance gives is
    squares - 2 product / total.
    """
    by_chance = squares - 2 * _divide(product, total, 0.0)
    # Whole numbers: what is left of a difference of equals is rounding noise
    return 1.0 - _divide(squared, np.where(by_chance > 1e-9 * np.maximum(squares, 1.0), by_chance, 0.0))


def _tagging(label: np.ndarray, probabilities: np.ndarray) -> Measure:
    true, guessed = label > 0.5, probabilities >= 0.5
    hits = true & guessed
    exact = (true == guessed).all(axis=1)
    rankings = [_ranking(true[:, number], probabilities[:, number]) for number in range(true.shape[1])]

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=0)
        hit_sums, both = hits.T @ weights, true.T @ weights + guessed.T @ weights
        ranks = np.array([ranking(weights) for ranking in rankings]).reshape(-1, 2, len(total))
        # As in scikit-learn, a tag that is neither there nor guessed has the F1 0
        f1_micro = _divide(2 * hit_sums.sum(axis=0), both.sum(axis=0), 0.0)
        f1_macro = _divide(2 * hit_sums, both, 0.0).mean(axis=0)
        return {
            "f1_micro": np.where(total > 0, f1_micro, np.nan),
            "f1_macro": np.where(total > 0, f1_macro, np.nan),
            "accuracy": _divide(exact @ weights, total),
            "roc_auc": _mean_defined(ranks[:, 0]),
            "average_precision": _mean_defined(ranks[:, 1]),
        }

    return measure


def _regression(label: np.ndarray, values: np.ndarray) -> Measure:
    errors = values - label
    # Sums of squares about the mean lose digits unless the labels are near 0
    centred = label - label.mean() if len(label) else label

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=0)
        squared = errors**2 @ weights
        raw = centred**2 @ weights
        spread = raw - _divide((centred @ weights) ** 2, total, 0.0)
        spread = np.where(spread > _NO_SPREAD * raw, spread, 0.0)
        return {
            "r2": 1.0 - _divide(squared, spread),
            "mean_absolute_error": _divide(np.abs(errors) @ weights, total),
            "root_mean_squared_error": np.sqrt(_divide(squared, total)),
        }

    return measure
