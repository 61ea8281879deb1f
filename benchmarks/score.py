"""The only script that reads test tables; every reading is appended to results/test_log.jsonl, which is committed.

python benchmarks/score.py RECIPE MODEL_FOLDER_OR_NPZ [--seed N]
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recipes import Recipe, all_recipes, find_data, table_path  # noqa: E402

LOG = ROOT / "benchmarks" / "results" / "test_log.jsonl"
NUM_RESAMPLES = 2000
_CHUNK = 250


@dataclass(frozen=True)
class Answers:
    """Answers to a test table's rows.

    Attributes:
        probabilities: (R, C).
        truth: (R,) true class codes.
        classes: The C names, sorted.
        chosen: (R,) codes of the classes that were answered; None where these are the most probable ones.
    """

    probabilities: np.ndarray
    truth: np.ndarray
    classes: tuple[str, ...]
    chosen: np.ndarray | None = None

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "probabilities": self.probabilities,
            "truth": self.truth,
            "classes": np.array(self.classes, dtype=str),
        }
        np.savez_compressed(path, **arrays, **({} if self.chosen is None else {"chosen": self.chosen}))

    @classmethod
    def load(cls, path: Path) -> Answers:
        with np.load(path, allow_pickle=False) as found:
            names = tuple(str(name) for name in found["classes"])
            return cls(found["probabilities"], found["truth"], names, found.get("chosen"))


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    except OSError:  # a machine without git
        return ""
    return done.stdout if done.returncode == 0 else ""


def source_tree() -> dict[str, Any]:
    """Tree of src at HEAD, whether src differs from it, and a digest that names what is there now."""
    tree = _git("rev-parse", "HEAD:src").strip() or "unknown"
    changes = _git("diff", "HEAD", "--", "src")
    for name in sorted(_git("ls-files", "--others", "--exclude-standard", "--", "src").split("\n")):
        if name:
            changes += name + hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
    dirty = bool(changes)
    digest = hashlib.sha256(changes.encode()).hexdigest()[:12] if dirty else ""
    return {"tree": tree, "dirty": dirty, "state": f"{tree}+{digest}" if dirty else tree}


def _weighted(answers: Answers) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Metrics as a function of row weights (R, S)."""
    from omnifuse.evaluation.metrics import measure_of
    from omnifuse.schema import TaskKind

    return measure_of(
        TaskKind.CLASSIFICATION, answers.truth, answers.probabilities, answers.classes, chosen=answers.chosen
    )


def measures(answers: Answers) -> dict[str, float]:
    """Every classification metric."""
    return {name: float(value[0]) for name, value in _weighted(answers)(np.ones((len(answers.truth), 1))).items()}


def paired(
    ours: Sequence[Answers], plain: Sequence[Answers], measure: str, *, resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, float | None]:
    """Mean over our seeds minus mean over the reference's, with the 95% bootstrap interval over rows.

    Args:
        ours: One entry a seed.
        plain: One entry a seed of the reference.
        measure: Name of the metric.
        resamples: Draws of rows; every seed is scored on the same draw.
        seed: Of the draws.
    """
    truth = ours[0].truth
    assert all(np.array_equal(item.truth, truth) for item in (*ours, *plain)), "answers to different rows"
    first, second = [_weighted(item) for item in ours], [_weighted(item) for item in plain]

    def difference(weights: np.ndarray) -> np.ndarray:
        means = [np.mean([item(weights)[measure] for item in side], axis=0) for side in (first, second)]
        return np.asarray(means[0] - means[1])

    draw, found = np.random.default_rng(seed), []
    for start in range(0, resamples, _CHUNK):
        width = min(_CHUNK, resamples - start)
        chosen = draw.integers(0, len(truth), (len(truth), width)) * width + np.arange(width)
        counts = np.bincount(chosen.ravel(), minlength=len(truth) * width).reshape(len(truth), width)
        found.append(difference(counts.astype(np.float64)))
    drawn = np.concatenate(found)
    defined = drawn[~np.isnan(drawn)]
    low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (None, None)
    value = float(difference(np.ones((len(truth), 1)))[0])
    bounds = {"low": low, "high": high}
    return {"difference": value, **{name: None if bound is None else float(bound) for name, bound in bounds.items()}}


def measure_over(answers: Answers, measure: str, rows: np.ndarray) -> float:
    """One metric over some of the rows, (R,) bool."""
    return float(_weighted(answers)(rows[:, None].astype(np.float64))[measure][0])


def aligned(
    probabilities: np.ndarray, classes: Sequence[str], labels: Sequence[str], chosen: np.ndarray | None = None
) -> Answers:
    """Answers with the classes in sorted order; a label that was never learnt counts as wrong."""
    names = sorted({*classes, *labels})
    columns = np.zeros((len(probabilities), len(names)))
    for number, name in enumerate(classes):
        columns[:, names.index(name)] = probabilities[:, number]
    codes = np.array([names.index(name) for name in classes])
    picked = None if chosen is None else codes[chosen]
    return Answers(columns, np.array([names.index(label) for label in labels]), tuple(names), picked)


def score_answers(
    recipe: Recipe,
    test: str,
    answer: Callable[[Path], np.ndarray | tuple[np.ndarray, np.ndarray]],
    classes: Sequence[str],
    *,
    who: str,
    seed: int,
    data: Path,
    work: Path,
    log: Path = LOG,
) -> Answers:
    """Ask for the rows of a test table, score the answers, and write one line to the log.

    Args:
        recipe: Says what is measured.
        test: Name of the table.
        answer: Path of a table to probabilities (R, C), or to these and the numbers (R,) of the classes answered.
        classes: The C names.
        who: "omnifuse" or "plain".
        seed: Of the fit.
        data: Holds the data sets.
        work: Takes what is made.
        log: File to append to.
    """
    import polars

    path = table_path(recipe, test, data, work)
    labels = [str(cell) for cell in polars.read_csv(path, infer_schema=False)[recipe.label]]
    found = answer(path)
    probabilities, chosen = found if isinstance(found, tuple) else (found, None)
    answers = aligned(np.asarray(probabilities, np.float64), classes, labels, chosen)
    line = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **source_tree(),
        "recipe": recipe.name,
        "test": test,
        "who": who,
        "seed": seed,
        "rows": len(labels),
        "scores": {name: round(value, 6) for name, value in measures(answers).items()},
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(line) + "\n")
    return answers


def model_answer(
    folder: Path, *, only: str | None = None
) -> tuple[Callable[[Path], tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """A saved model as a function of a table, and its classes; with `only` every other field is hidden from it."""
    import omnifuse
    from omnifuse.data.tables import open_table

    model = omnifuse.load(folder)

    def answer(path: Path) -> tuple[np.ndarray, np.ndarray]:
        table = open_table(path)
        probabilities = model.predict_proba(table if only is None else replace(table, columns=(only,)))
        return probabilities, model.choose(probabilities)

    return answer, tuple(model.schema.targets[0].classes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=list(all_recipes()))
    parser.add_argument("place", type=Path, help="run folder of a fit, or an npz of answers (not read anew)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    recipe = all_recipes()[asked.recipe]
    if asked.place.suffix == ".npz":
        print(json.dumps(measures(Answers.load(asked.place))))
        return 0
    data = find_data()
    if data is None:
        return 0
    answer, classes = model_answer(asked.place)
    for test in recipe.tests:
        answers = score_answers(
            recipe,
            test,
            answer,
            classes,
            who="omnifuse",
            seed=asked.seed,
            data=data,
            work=asked.place.parent / "tables",
        )
        answers.save(asked.place / f"{Path(test).stem}.npz")
        print(json.dumps({"test": test, **measures(answers)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
