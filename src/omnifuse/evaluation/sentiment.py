"""The measures of multimodal sentiment: a score from -3 to 3, read as two classes, as seven, and as a number.

Acc-2 and F1 are given in both manners of the field: Has0 takes "not negative" against "negative" on all rows, Non0
"positive" against "negative" on the rows that are not neutral. Papers that do not name theirs cannot be compared.

References: Zadeh et al. 2016, MOSI (the measures); Tsai et al. 2019, MulT (Acc-7 by rounding; Non0); Yu et al. 2021,
Self-MM (both manners side by side).

Shapes: R rows.
"""

from __future__ import annotations

import numpy as np

from omnifuse.errors import InputError

HIGHEST = 3.0


def score_sentiment(truth: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """Measures of sentiment scores.

    Args:
        truth: (R,) labels from -3 to 3; rows with NaN are left out.
        scores: (R,) answers.

    Returns:
        "acc_2_has0", "f1_has0", "acc_2_non0", "f1_non0" (weighted by the rows of both classes), "acc_7",
        "mean_absolute_error" and "correlation" (Pearson); None where there is nothing to measure.

    Raises:
        InputError: There are not as many answers as labels, or an answer is not finite.

    Example:
        >>> found = score_sentiment(np.array([-2.0, 0.0, 1.0, 3.0]), np.array([-1.2, -0.1, 2.0, 2.6]))
        >>> found["acc_2_has0"], found["acc_2_non0"], found["acc_7"]
        (0.75, 1.0, 0.5)
    """
    label, answer = np.asarray(truth, np.float64), np.asarray(scores, np.float64)
    if label.shape != answer.shape or label.ndim != 1:
        raise InputError(f"answers of shape {answer.shape} are not for labels of shape {label.shape}")
    known = ~np.isnan(label)
    label, answer = label[known], answer[known]
    if not np.isfinite(answer).all():
        raise InputError("an answer is not a finite number")
    polar = label != 0
    sevens = np.round(np.clip(label, -HIGHEST, HIGHEST)) == np.round(np.clip(answer, -HIGHEST, HIGHEST))
    return {
        **_two_classes(label >= 0, answer >= 0, "has0"),
        **_two_classes(label[polar] > 0, answer[polar] > 0, "non0"),
        "acc_7": _mean(sevens),
        "mean_absolute_error": _mean(np.abs(label - answer)),
        "correlation": _correlation(label, answer),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _two_classes(truth: np.ndarray, given: np.ndarray, manner: str) -> dict[str, float | None]:
    scores = []
    for wanted in (False, True):
        hits = ((truth == wanted) & (given == wanted)).sum()
        both = (truth == wanted).sum() + (given == wanted).sum()
        scores.append((2 * hits / both if both else 0.0) * (truth == wanted).mean() if len(truth) else 0.0)
    return {f"acc_2_{manner}": _mean(truth == given), f"f1_{manner}": float(sum(scores)) if len(truth) else None}


def _correlation(one: np.ndarray, two: np.ndarray) -> float | None:
    """Pearson's; None where either does not vary."""
    if len(one) < 2:
        return None
    left, right = one - one.mean(), two - two.mean()
    norm = np.sqrt((left**2).sum() * (right**2).sum())
    smallest = 1e-12 * max(1e-300, np.sqrt((one**2).sum() * (two**2).sum()))
    return float(np.clip((left * right).sum() / norm, -1, 1)) if norm > smallest else None
