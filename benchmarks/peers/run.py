"""`python benchmarks/peers/run.py`: fit peers on the files of our recipes and score them as we are scored.

    OMNIFUSE_DATA=FOLDER python benchmarks/peers/run.py [--peer NAME...] [--recipe NAME...] [--seeds N]

Each peer gets an environment of its own under runs/peers/NAME, made by pip on first use, the same training table with
the same fields, and as many minutes as our recipe. It is a process of its own: its time is that of the whole process,
from start to the answers to the test rows. Labels of test rows are taken out before a peer sees a test table. A peer
that cannot be installed or fails on a recipe is listed with the reason. Results: benchmarks/results/peers.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from recipes import Recipe, all_recipes, find_data, table_path  # noqa: E402

from benchmarks.run import hardware, read_json, write_json  # noqa: E402
from benchmarks.score import aligned, measures, paired, source_tree  # noqa: E402

HOME = Path(__file__).parent
RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
# A peer that does not end by itself is stopped after this many times its minutes
PATIENCE = 4.0
LAST_LINES = 400


@dataclass(frozen=True)
class Peer:
    """A system that we are held against.

    Attributes:
        name: Of its script beside this file.
        packages: What pip installs, pinned.
        reads: Modalities that it takes.
        words: What is fitted, with which settings.
    """

    name: str
    packages: tuple[str, ...]
    reads: tuple[str, ...]
    words: str


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "widedeep",
            ("pytorch-widedeep==1.7.0", "opencv-python-headless"),
            ("image", "text", "number", "category"),
            "pytorch-widedeep 1.7: TabMlp, BasicRNN and Vision from scratch, best epoch on a tenth of the rows",
        ),
    )
}


def environment(peer: Peer, work: Path) -> Path:
    """The Python of the peer's own environment; made where absent.

    Raises:
        RuntimeError: pip failed; the message holds its last lines.
    """
    home = work / peer.name / "venv"
    python = home / "bin" / "python"
    if (home / ".installed").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip: {done.stderr[-LAST_LINES:]}")
    (home / ".installed").touch()
    return python


def kinds_of(recipe: Recipe, table: Path) -> dict[str, str]:
    """Field to modality, as our own schema names it, for the fields that the recipe reads."""
    import omnifuse

    found = omnifuse.inspect(table, label=recipe.label)
    kinds = {item["name"]: item["modality"] for item in found["fields"] if item["name"] in recipe.used}
    return {name: kinds.get(name, "category") for name in recipe.used}


def without_labels(path: Path, recipe: Recipe, out: Path) -> Path:
    """A copy of a test table that holds the recipe's fields alone."""
    with open(path, newline="", encoding="utf-8") as source, open(out, "w", newline="", encoding="utf-8") as copy:
        table = csv.DictWriter(copy, list(recipe.used), extrasaction="ignore")
        table.writeheader()
        table.writerows(csv.DictReader(source))
    return out


def fit_peer(peer: Peer, recipe: Recipe, seed: int, data: Path, work: Path) -> dict[str, Any]:
    """Fit and score one peer on one recipe.

    Returns:
        Seconds of the whole process and the scores of each test table, or the reason why there is none.
    """
    folder = work / peer.name / recipe.name / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    train = table_path(recipe, recipe.train, data, work / "tables")
    kinds = kinds_of(recipe, train)
    read = {name: kind for name, kind in kinds.items() if kind in peer.reads}
    left_out = sorted(set(kinds) - set(read))
    if not read:
        return {"reason": f"it reads none of {', '.join(kinds)}"}
    tests = {
        test: without_labels(table_path(recipe, test, data, work / "tables"), recipe, folder / test)
        for test in recipe.tests
    }
    job = {
        "train": str(train),
        "root": str(train.parent),
        "tests": {test: str(path) for test, path in tests.items()},
        "label": recipe.label,
        "fields": read,
        "group": recipe.group,
        "minutes": recipe.minutes,
        "seed": seed,
        "out": str(folder),
    }
    (folder / "job.json").write_text(json.dumps(job, indent=1), encoding="utf-8")
    python = environment(peer, work)
    command = [str(python), str(HOME / f"{peer.name}.py"), str(folder / "job.json")]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60 * PATIENCE * recipe.minutes
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"it did not end within {PATIENCE:g} times its minutes"}
    seconds = time.monotonic() - began
    (folder / "log.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        return {"reason": f"it failed: {done.stderr.strip()[-LAST_LINES:]}"}
    return {"seconds": round(seconds, 1), "left_out": left_out, **_scored(recipe, folder, data, work, seed)}


def _scored(recipe: Recipe, folder: Path, data: Path, work: Path, seed: int) -> dict[str, Any]:
    from benchmarks.score import Answers

    scores, against = {}, {}
    for test in recipe.tests:
        with np.load(folder / f"{Path(test).stem}.npz", allow_pickle=False) as found:
            probabilities, classes = found["probabilities"], [str(name) for name in found["classes"]]
        with open(table_path(recipe, test, data, work / "tables"), newline="", encoding="utf-8") as handle:
            labels = [row[recipe.label] for row in csv.DictReader(handle)]
        answers = aligned(probabilities, classes, labels)
        scores[test] = {name: round(value, 6) for name, value in measures(answers).items()}
        ours = ROOT / "runs" / "bench" / recipe.name / f"seed{seed}-{Path(test).stem}.npz"
        if ours.exists():
            against[test] = paired([Answers.load(ours)], [answers], recipe.measure)
    return {"scores": scores, "ours_minus_peer": against}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="append", choices=sorted(PEERS), help="only this one; repeat for several")
    parser.add_argument("--recipe", action="append", choices=sorted(all_recipes()), help="only this one")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    data = find_data()
    if data is None:
        return 0
    work = ROOT / "runs" / "peers"
    found = read_json(RESULTS) or {"peers": {}}
    for name in asked.peer or sorted(PEERS):
        for recipe in all_recipes().values():
            if asked.recipe and recipe.name not in asked.recipe:
                continue
            runs = []
            for seed in range(asked.seeds):
                print(f"{name} on {recipe.name}, seed {seed}", file=sys.stderr, flush=True)
                try:
                    runs.append({"seed": seed, **fit_peer(PEERS[name], recipe, seed, data, work)})
                except (RuntimeError, FileNotFoundError) as error:
                    runs.append({"seed": seed, "reason": str(error)})
            entry = {"words": PEERS[name].words, "packages": PEERS[name].packages, "measure": recipe.measure}
            entry |= {"minutes": recipe.minutes, "hardware": hardware(), **source_tree(), "runs": runs}
            found["peers"].setdefault(name, {})[recipe.name] = entry
            write_json(RESULTS, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
