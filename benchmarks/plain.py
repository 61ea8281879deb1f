"""Plain references: what a careful engineer would write for each data set in an afternoon, nothing tuned on test rows.

Digits: a two-branch convolutional network. X-rays: tf-idf of the note and the record, a forest. Occupancy: logistic
regression. Emotion: statistics of MFCCs, a support vector machine. Choices were made by cross-validation on training
rows. The references learn from training tables; `score.py` alone hands them test tables, and they read fields only.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recipes import Recipe, table_path

from benchmarks import plain_monitoring

Rows = list[dict[str, str]]
EPOCHS = 30
MEL_FRAMES = 80
RECORD_NUMBERS = ("age", "temperature", "pO2_saturation", "offset")
RECORD_WORDS = ("sex", "view")


@dataclass(frozen=True)
class Plain:
    """A fitted reference.

    Attributes:
        classes: Names, sorted.
        words: What it is, for the results.
        seconds: Time of reading and fitting.
        answer: Path of a table to probabilities (R, C).
    """

    classes: tuple[str, ...]
    words: str
    seconds: float
    answer: Callable[[Path], np.ndarray]


def read_rows(path: Path) -> Rows:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def numbers_of(rows: Rows, columns: tuple[str, ...]) -> np.ndarray:
    """(R, columns) float64, NaN where empty."""
    return np.array([[float(row[name]) if row[name] else np.nan for name in columns] for row in rows])


def fit_plain(recipe: Recipe, data: Path, work: Path, seed: int = 0, *, epochs: int = EPOCHS) -> Plain:
    """Fit the reference of a recipe on its training table.

    Args:
        recipe: Says which fields may be read.
        data: Holds the data sets.
        work: Takes what is made.
        seed: Of weights and order.
        epochs: Passes of the network for digits.
    """
    began = time.monotonic()
    path = table_path(recipe, recipe.train, data, work)
    rows = read_rows(path)
    labels = [row[recipe.label] for row in rows]
    classes = tuple(sorted(set(labels)))
    codes = np.array([classes.index(label) for label in labels])
    build = {
        "cxr": _record,
        "occupancy": _sensors,
        "occupancy_past": plain_monitoring.windowed_sensors,
        "emodb": _speech,
        "esc50": plain_monitoring.events,
        "fire": plain_monitoring.fire,
        "nlvr": plain_monitoring.statements,
    }
    if recipe.name in build:
        words, answer = build[recipe.name](rows, codes, path.parent, seed)
    else:
        words, answer = _digits(rows, codes, path.parent, seed, fields=recipe.used, epochs=epochs)
    return Plain(classes, words, time.monotonic() - began, lambda table: answer(read_rows(table), table.parent))


Answer = Callable[[Rows, Path], np.ndarray]


def _sensors(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = ("Temperature", "Humidity", "Light", "CO2", "HumidityRatio")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(numbers_of(rows, columns), codes)
    return "logistic regression on the five sensors", lambda found, _: model.predict_proba(numbers_of(found, columns))


def record_model(seed: int) -> Any:
    """Note and record to a forest; the input is a data frame of their columns."""
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    note = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), TruncatedSVD(32, random_state=seed)
    )
    parts = ColumnTransformer(
        [
            ("note", note, "clinical_notes_masked"),
            ("numbers", SimpleImputer(strategy="median", add_indicator=True), list(RECORD_NUMBERS)),
            ("words", OneHotEncoder(handle_unknown="ignore"), list(RECORD_WORDS)),
        ],
        sparse_threshold=0.0,
    )
    return make_pipeline(parts, RandomForestClassifier(500, min_samples_leaf=2, random_state=seed))


def record_frame(rows: Rows) -> Any:
    import pandas

    frame = pandas.DataFrame(numbers_of(rows, RECORD_NUMBERS), columns=list(RECORD_NUMBERS))
    for name in (*RECORD_WORDS, "clinical_notes_masked"):
        frame[name] = [row[name] for row in rows]
    return frame


def _record(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    model = record_model(seed).fit(record_frame(rows), codes)
    return "tf-idf of the note and the record, random forest", lambda found, _: model.predict_proba(record_frame(found))


def log_mel(paths: list[Path | None], *, rate_hz: int, num_mels: int) -> list[np.ndarray | None]:
    """(F, num_mels) of each sound, None where there is none."""
    from omnifuse.data.audio import AudioPreprocessor
    from omnifuse.data.media import MediaDoor

    door, read = MediaDoor(), AudioPreprocessor(rate_hz=rate_hz, num_mels=num_mels, prosody=False)
    return [None if path is None else read(door.audio(path, rate_hz))["log_mel"] for path in paths]


def mfcc_statistics(mel: np.ndarray, *, num_coefficients: int = 20) -> np.ndarray:
    """Mean, deviation, quartiles and range of MFCCs and their first differences over time."""
    from scipy.fft import dct

    tracks = dct(mel, type=2, norm="ortho", axis=1)[:, :num_coefficients]
    both = np.concatenate([tracks, np.gradient(tracks, axis=0) if len(tracks) > 1 else 0 * tracks], axis=1)
    low, middle, high = np.percentile(both, [10, 50, 90], axis=0)
    return np.concatenate([both.mean(axis=0), both.std(axis=0), low, middle, high])


def speech_model() -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(C=3.0, class_weight="balanced"))


def speech_features(rows: Rows, root: Path) -> np.ndarray:
    found = log_mel([root / row["audio"] for row in rows], rate_hz=16_000, num_mels=40)
    return np.stack([mfcc_statistics(mel) for mel in found if mel is not None])


def _speech(rows: Rows, codes: np.ndarray, root: Path, seed: int) -> tuple[str, Answer]:
    from scipy.special import softmax

    model = speech_model().fit(speech_features(rows, root), codes)

    def answer(found: Rows, where: Path) -> np.ndarray:
        return np.asarray(softmax(model.decision_function(speech_features(found, where)), axis=1))

    return "statistics of 20 MFCCs and differences, support vector machine", answer


def _digit_arrays(rows: Rows, root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Field to (R, 1, height, width) float32 and (R,) presence."""
    from PIL import Image

    images = np.zeros((len(rows), 1, 28, 28), np.float32)
    sounds = np.zeros((len(rows), 1, 64, MEL_FRAMES), np.float32)
    here = {name: np.array([bool(row[name]) for row in rows], np.float32) for name in ("image", "audio")}
    mels = log_mel([root / row["audio"] if row["audio"] else None for row in rows], rate_hz=8000, num_mels=64)
    for number, (row, mel) in enumerate(zip(rows, mels, strict=True)):
        if row["image"]:
            with Image.open(root / row["image"]) as picture:
                images[number, 0] = np.asarray(picture.convert("L"), np.float32) / 255
        if mel is not None:
            cut = (mel[:MEL_FRAMES] + 4.0) / 4.0
            sounds[number, 0, :, : len(cut)] = cut.T
    return {"image": (images, here["image"]), "audio": (sounds, here["audio"])}


def _branch(strides: tuple[int, int, int], dropout: float) -> Any:
    from torch import nn

    layers: list[Any] = []
    for before, after, stride in zip((1, 32, 64), (32, 64, 96), strides, strict=True):
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(), nn.Linear(96 * 9, 128), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def _digit_network(fields: tuple[str, ...], num_classes: int) -> Any:
    from torch import Tensor, cat, nn

    class TwoBranches(nn.Module):
        """A branch a field, zero where the field is missing, concatenated before one linear layer."""

        def __init__(self) -> None:
            super().__init__()
            strides = {"image": (1, 1, 1), "audio": (2, 1, 1)}
            self.branches = nn.ModuleDict({name: _branch(strides[name], 0.3) for name in fields})
            self.head = nn.Linear(128 * len(fields), num_classes)

        def forward(self, values: dict[str, Tensor], here: dict[str, Tensor]) -> Tensor:
            parts = [self.branches[name](values[name]) * here[name][:, None] for name in fields]
            return self.head(cat(parts, dim=1))

    return TwoBranches()


def _shifted(values: Any, draw: Any, most: tuple[int, int]) -> Any:
    """One shift a row, of at most so many pixels down and across, zeros coming in."""
    import torch
    from torch.nn.functional import pad

    height, width = values.shape[-2:]
    padded = pad(values, (most[1], most[1], most[0], most[0]))
    down = torch.randint(0, 2 * most[0] + 1, (len(values), 1, 1), generator=draw)
    across = torch.randint(0, 2 * most[1] + 1, (len(values), 1, 1), generator=draw)
    row = torch.arange(len(values))[:, None, None]
    moved = padded[row, 0, down + torch.arange(height)[:, None], across + torch.arange(width)]
    return moved[:, None]


def _digits(
    rows: Rows, codes: np.ndarray, root: Path, seed: int, *, fields: tuple[str, ...], epochs: int
) -> tuple[str, Answer]:
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    arrays = _digit_arrays(rows, root)
    values = {name: torch.from_numpy(arrays[name][0]) for name in fields}
    here = {name: torch.from_numpy(arrays[name][1]) for name in fields}
    label = torch.from_numpy(codes)
    network = _digit_network(fields, int(codes.max()) + 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    steps = epochs * -(-len(label) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    most = {"image": (2, 2), "audio": (2, 6)}
    for _ in range(epochs):
        for chosen in torch.randperm(len(label), generator=draw).split(64):
            moved = {name: _shifted(values[name][chosen], draw, most[name]) for name in fields}
            output = network(moved, {name: here[name][chosen] for name in fields})
            loss = cross_entropy(output, label[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()

    def answer(found: Rows, where: Path) -> np.ndarray:
        asked = _digit_arrays(found, where)
        with torch.inference_mode():
            output = network(
                {name: torch.from_numpy(asked[name][0]) for name in fields},
                {name: torch.from_numpy(asked[name][1]) for name in fields},
            )
        return output.softmax(dim=1).double().numpy()

    branches = "two-branch" if len(fields) > 1 else "one-branch"
    return f"{branches} convolutional network, {epochs} epochs", answer
