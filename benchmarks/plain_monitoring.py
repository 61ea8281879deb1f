"""Plain references of the sets on events, fire, statements about pictures, and sensors with their past.

Events: statistics of MFCCs, a support vector machine. Fire: a histogram of colours, logistic regression. Statements:
tf-idf of the sentence, counts of colours and shapes' sizes in the picture, gradient-boosted trees. Sensors with their
past: means, slopes and differences over windows, gradient-boosted trees. Nothing is tuned on test rows.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rows = list[dict[str, str]]
Answer = Callable[[Rows, Path], np.ndarray]
SENSORS = ("Temperature", "Humidity", "CO2", "HumidityRatio")
WINDOWS = (5, 15, 60)
COLOUR_LEVELS = 6


def _pixels(path: Path, side: int) -> np.ndarray:
    """float32 (side, side, 3) in 0 to 1."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((side, side)), np.float32) / 255


def colour_histogram(pixels: np.ndarray) -> np.ndarray:
    """Shares of pixels in 6 x 6 x 6 colours."""
    levels = np.minimum((pixels * COLOUR_LEVELS).astype(int), COLOUR_LEVELS - 1)
    codes = (levels[..., 0] * COLOUR_LEVELS + levels[..., 1]) * COLOUR_LEVELS + levels[..., 2]
    return np.bincount(codes.ravel(), minlength=COLOUR_LEVELS**3) / codes.size


def fire(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    """Colour histogram, logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(found: Rows, where: Path) -> np.ndarray:
        return np.stack([np.sqrt(colour_histogram(_pixels(where / row["image"], 96))) for row in found])

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
    model.fit(features(rows, root), codes)
    return "histogram of 216 colours, logistic regression", lambda found, where: model.predict_proba(
        features(found, where)
    )


def events(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    """Statistics of MFCCs, a support vector machine."""
    from scipy.special import softmax
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from benchmarks.plain import log_mel, mfcc_statistics

    def features(found: Rows, where: Path) -> np.ndarray:
        mels = log_mel([where / row["audio"] for row in found], rate_hz=16_000, num_mels=40)
        return np.stack([mfcc_statistics(mel) for mel in mels if mel is not None])

    model = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(features(rows, root), codes)

    def answer(found: Rows, where: Path) -> np.ndarray:
        return np.asarray(softmax(model.decision_function(features(found, where)), axis=1))

    return "statistics of 20 MFCCs and differences, support vector machine", answer


def statements(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    """Words of the sentence beside colours of the picture's three boxes, boosted trees."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    words = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), TruncatedSVD(48, random_state=seed)
    ).fit([row["sentence"] for row in rows])

    def boxes(path: Path) -> np.ndarray:
        pixels = _pixels(path, 96)
        return np.concatenate([colour_histogram(part) for part in np.array_split(pixels, 3, axis=1)])

    colours = TruncatedSVD(24, random_state=seed).fit(np.stack([boxes(root / row["image"]) for row in rows]))

    def features(found: Rows, where: Path) -> np.ndarray:
        seen = colours.transform(np.stack([boxes(where / row["image"]) for row in found]))
        return np.concatenate([words.transform([row["sentence"] for row in found]), seen], axis=1)

    model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, random_state=seed)
    model.fit(features(rows, root), codes)
    return (
        "tf-idf of the sentence and colours of the boxes, gradient-boosted trees",
        lambda found, where: model.predict_proba(features(found, where)),
    )


def window_features(rows: Rows) -> np.ndarray:
    """Values, clock, and for each window of past rows the mean, the slope and the difference of each sensor.

    Rows are taken in the order of their dates; the window of a row ends with it and holds nothing later.
    """
    dates = [datetime.datetime.fromisoformat(row["date"]) for row in rows]
    order = np.argsort(np.array([date.timestamp() for date in dates]), kind="stable")
    values = np.array([[float(rows[place][name]) for name in SENSORS] for place in order])
    parts = [values]
    for window in WINDOWS:
        first = np.maximum(np.arange(len(values)) - window + 1, 0)
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        means = (sums[np.arange(len(values)) + 1] - sums[first]) / (np.arange(len(values)) - first + 1)[:, None]
        parts += [means, values - values[first], values - means]
    clock = np.array([[dates[place].hour + dates[place].minute / 60, dates[place].weekday() >= 5] for place in order])
    found = np.concatenate([*parts, clock], axis=1)
    result = np.empty_like(found)
    result[order] = found
    return result


def windowed_sensors(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    """Boosted trees on windows of the past."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model: Any = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, random_state=seed)
    model.fit(window_features(rows), codes)
    return (
        "means and differences over 5, 15 and 60 past rows, gradient-boosted trees",
        lambda found, _: model.predict_proba(window_features(found)),
    )
