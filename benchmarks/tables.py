"""Tables alone: omnifuse by column transformer, by MLP ensemble and by the choice of both, beside gradient boosting.

    python benchmarks/tables.py [--data NAME...] [--seeds N] [--minutes M] [--quick]

Everybody gets the same rows: a stratified fifth is held out, anew for each seed. scikit-learn's HistGradientBoosting is
run as it comes, and with its rounds chosen by early stopping on a tenth of the training rows; the better of the two on
a held-out fifth of the training rows is the reference. The data sets ship with scikit-learn or are generated, so that
nothing is fetched. Results go to results/tables.json, with source tree and hardware, after each seed; a seed that was
measured on the source as it is now is kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import RESULTS, hardware, read_json, write_json  # noqa: E402
from benchmarks.score import source_tree  # noqa: E402

OURS = {"table-piecewise": "transformer", "table-mlp": "mlp", "chosen by cross-validation": "auto"}
REFERENCE = "gradient boosting"
TEST_SHARE = 0.2
MINUTES, QUICK_EPOCHS, SEEDS = 2.0, 1, 3
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class TableData:
    """Features (R, N) and labels (R,): class texts, or numbers."""

    features: np.ndarray
    labels: np.ndarray
    is_regression: bool = False

    def rows(self, chosen: np.ndarray) -> list[dict[str, Any]]:
        """Rows as omnifuse reads them; numbers keep all their digits."""
        names = [f"x{number}" for number in range(self.features.shape[1])]
        return [
            {**dict(zip(names, map(repr, row.tolist()), strict=True)), "label": str(label)}
            for row, label in zip(self.features[chosen], self.labels[chosen].tolist(), strict=True)
        ]


def _bundled(name: str, *, is_regression: bool = False) -> TableData:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    labels = found.target.astype(float) if is_regression else np.array([f"c{label}" for label in found.target])
    return TableData(found.data.astype(float), labels, is_regression)


def _made(name: str, **options: Any) -> TableData:
    from sklearn import datasets

    features, labels = getattr(datasets, f"make_{name}")(random_state=0, **options)
    if name.startswith("friedman"):
        return TableData(features, labels, True)
    return TableData(features, np.array([f"c{label}" for label in labels]))


DATA: dict[str, Callable[[], TableData]] = {
    "breast_cancer": lambda: _bundled("breast_cancer"),
    "wine": lambda: _bundled("wine"),
    "digits": lambda: _bundled("digits"),
    "diabetes": lambda: _bundled("diabetes", is_regression=True),
    "friedman1": lambda: _made("friedman1", n_samples=2000, noise=1.0),
    "classification": lambda: _made(
        "classification", n_samples=3000, n_features=20, n_informative=8, n_classes=4, n_clusters_per_class=2
    ),
}


def divide(data: TableData, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(data.labels)),
        test_size=TEST_SHARE,
        random_state=seed,
        stratify=None if data.is_regression else data.labels,
    )
    return np.sort(train), np.sort(test)


def answer_ours(
    data: TableData, train: np.ndarray, test: np.ndarray, table: str, *, out: Path, seed: int, limit: dict[str, Any]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values (Q,), or probabilities (Q, C) and the classes in their order."""
    import omnifuse

    kind = "regression" if data.is_regression else "classification"
    # A fit on the table alone, without its shallow heads: the encoders are what is compared
    model = omnifuse.fit(
        data.rows(train),
        "label",
        out=out,
        tasks={"label": kind},
        fields={f"x{number}": "number" for number in range(data.features.shape[1])},
        settings={"table": table, "shallow": "none"},
        seed=seed,
        baselines=False,
        logger="none",
        report_media="none",
        **limit,
    )
    return model.predict_proba(data.rows(test)), model.schema.targets[0].classes


def answer_boosting(
    data: TableData, train: np.ndarray, test: np.ndarray, *, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The better of two usual settings, chosen on training rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.model_selection import train_test_split

    family = HistGradientBoostingRegressor if data.is_regression else HistGradientBoostingClassifier
    settings = ({}, {"early_stopping": True, "max_iter": 500, "learning_rate": 0.05})
    inner, held = train_test_split(
        train, test_size=0.2, random_state=seed, stratify=None if data.is_regression else data.labels[train]
    )
    scores = [
        family(random_state=seed, **options)
        .fit(data.features[inner], data.labels[inner])
        .score(data.features[held], data.labels[held])
        for options in settings
    ]
    best = family(random_state=seed, **settings[int(np.argmax(scores))]).fit(data.features[train], data.labels[train])
    if data.is_regression:
        return best.predict(data.features[test]), ()
    return best.predict_proba(data.features[test]), tuple(str(name) for name in best.classes_)


def gains(data: TableData, test: np.ndarray, answers: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """(Q,) what each row adds to the score: 1 where right, or minus the squared error over the variance."""
    if data.is_regression:
        truth = data.labels[test]
        return -((answers - truth) ** 2) / truth.var()
    return (np.array(classes)[answers.argmax(axis=1)] == data.labels[test]).astype(float)


def score_of(data: TableData, gain: np.ndarray) -> float:
    """Accuracy, or R2."""
    return float(gain.mean()) + (1.0 if data.is_regression else 0.0)


def paired(ours: list[np.ndarray], others: list[np.ndarray], *, seed: int = 0) -> dict[str, float]:
    """Mean difference over seeds and rows, and its 95% bootstrap interval over the rows of each seed."""
    draw = np.random.default_rng(seed)
    gaps = [one - two for one, two in zip(ours, others, strict=True)]
    drawn = np.mean([gap[draw.integers(0, len(gap), (NUM_RESAMPLES, len(gap)))].mean(axis=1) for gap in gaps], axis=0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"difference": float(np.mean([gap.mean() for gap in gaps])), "low": float(low), "high": float(high)}


def measure_seed(name: str, seed: int, work: Path, limit: dict[str, Any]) -> dict[str, Any]:
    """Everybody's gains on the test rows of one seed."""
    data = DATA[name]()
    train, test = divide(data, seed)
    found, seconds, load = {}, {}, os.getloadavg()
    for who, table in {**OURS, REFERENCE: ""}.items():
        print(f"{name} seed {seed}: {who}", file=sys.stderr, flush=True)
        began = time.monotonic()
        if table:
            out = work / name / f"seed{seed}-{table}"
            answers, classes = answer_ours(data, train, test, table, out=out, seed=seed, limit=limit)
        else:
            answers, classes = answer_boosting(data, train, test, seed=seed)
        seconds[who] = round(time.monotonic() - began, 1)
        found[who] = gains(data, test, answers, classes)
    return {
        "seed": seed,
        **source_tree(),
        "limit": limit,
        "load_before": [round(value, 2) for value in load],
        "load_after": [round(value, 2) for value in os.getloadavg()],
        "seconds": seconds,
        "scores": {who: score_of(data, gain) for who, gain in found.items()},
        "gains": {who: [round(float(value), 6) for value in gain] for who, gain in found.items()},
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of each, and ours against gradient boosting, paired over rows."""
    result: dict[str, Any] = {}
    for who in (*OURS, REFERENCE):
        values = [run["scores"][who] for run in runs]
        result[who] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(runs) > 1 else None}
        if who != REFERENCE:
            mine, theirs = ([np.array(run["gains"][side]) for run in runs] for side in (who, REFERENCE))
            result[who] |= paired(mine, theirs)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", choices=list(DATA), help="only this data set; repeat for several")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for each fit of ours")
    parser.add_argument("--quick", action="store_true", help="one seed and one pass, to see that it runs")
    asked = parser.parse_args()
    work = ROOT / "runs" / ("tables-quick" if asked.quick else "tables")
    path = (work if asked.quick else RESULTS) / "tables.json"
    limit: dict[str, Any] = {"epochs": QUICK_EPOCHS} if asked.quick else {"minutes": asked.minutes}
    for name in asked.data or DATA:
        for seed in range(1 if asked.quick else asked.seeds):
            results = read_json(path) or {"benchmark": "tables", "reference": REFERENCE, "data": {}}
            old = results["data"].get(name, {}).get("runs", [])
            state = source_tree()["state"]
            kept = [run for run in old if run["state"] == state and run["limit"] == limit]
            if any(run["seed"] == seed for run in kept):
                continue
            runs = sorted([*kept, measure_seed(name, seed, work, limit)], key=lambda run: run["seed"])
            data = DATA[name]()
            results["data"][name] = {
                "command": f"python benchmarks/tables.py --data {name}",
                "measure": "r2" if data.is_regression else "accuracy",
                "rows": len(data.labels),
                "columns": data.features.shape[1],
                "hardware": hardware(),
                "summary": summary(runs),
                "runs": runs,
            }
            write_json(path, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
