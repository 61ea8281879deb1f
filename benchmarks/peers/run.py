"""`python benchmarks/peers/run.py`: fit peers and omnifuse on the files of our recipes, timed and scored alike.

    OMNIFUSE_DATA=FOLDER python benchmarks/peers/run.py [--system NAME...] [--recipe NAME...] [--seeds N]

Each peer gets an environment of its own under runs/peers/NAME, made by pip on first use, a table of the same training
rows with the same fields, and as many minutes as our recipe. Everyone is timed as whole processes, from start to the
written answers to the test rows: of a peer one process, of omnifuse `fit` and one `predict` for each test table. A
round of one seed runs all systems one after the other. Labels of test rows are taken out before anyone sees a test
table, and every scoring is a line in results/test_log.jsonl. A system that cannot be installed or fails on a recipe is
listed with the reason. It resumes: a run that was measured with what decides its answers as it is now is kept.
Results: benchmarks/results/peers.json; `race.py` then measures how soon omnifuse reaches the peers' scores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
# In place of this folder, where scripts have the names of the packages that they run
sys.path[:] = [str(ROOT), *(place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent)]

from recipes import Recipe, all_recipes, find_data, read_header, table_path  # noqa: E402

from benchmarks.peers.systems import LAST_LINES, OURS, SYSTEMS, System, environment, prepare  # noqa: E402
from benchmarks.run import hardware, read_json, write_json  # noqa: E402
from benchmarks.score import LOG, Answers, measures, paired, score_answers, source_tree  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
MEDIA = ("image", "audio", "video")
# A process that does not end by itself is stopped after this many times its minutes, and so many seconds more
PATIENCE, START_S = 4.0, 120.0


class DidNotRunError(Exception):
    """Why a system gave no answers."""


def kinds_of(recipe: Recipe, table: Path) -> dict[str, str]:
    """Field to modality, as our own schema infers it, for the fields that the recipe reads."""
    from omnifuse.data.infer import infer_schema
    from omnifuse.data.media import MediaDoor
    from omnifuse.data.tables import open_table
    from omnifuse.schema import TaskKind

    opened = open_table(table)
    schema = infer_schema(
        opened,
        (recipe.label,),
        fields={},
        tasks={},
        drop=recipe.dropped(read_header(table)),
        group=recipe.group,
        time=recipe.time,
        learnt=tuple(TaskKind),
        door=MediaDoor(root=opened.root),
    )
    return {item.name: item.modality.value for item in schema.fields if item.name in recipe.used}


def copy_table(source: Path, columns: Sequence[str], media: Sequence[str], out: Path) -> Path:
    """A copy that holds these columns alone and names its media by whole paths."""
    with open(source, newline="", encoding="utf-8") as given, open(out, "w", newline="", encoding="utf-8") as copy:
        table = csv.DictWriter(copy, list(columns), extrasaction="ignore")
        table.writeheader()
        for row in csv.DictReader(given):
            table.writerow(row | {name: str(source.parent / row[name]) for name in media if row[name]})
    return out


def blind_tests(recipe: Recipe, train: Path, data: Path, work: Path, folder: Path) -> dict[str, Path]:
    """Name of each test table to its copy without labels, in `folder`; times come with the group of their past."""
    media = [name for name, kind in kinds_of(recipe, train).items() if kind in MEDIA]
    past = [name for name in (recipe.time, recipe.group) if recipe.time and name]
    columns = list(dict.fromkeys([*recipe.used, *past]))
    return {
        test: copy_table(table_path(recipe, test, data, work / "tables"), columns, media, folder / test)
        for test in recipe.tests
    }


def timed(command: Sequence[str], minutes: float, log: Path, *, ours: bool = True) -> float:
    """Run a process to its end, keep what it prints, and return its seconds; only ours sees our source.

    Raises:
        DidNotRunError: It failed or did not end.
    """
    around = {name: value for name, value in os.environ.items() if ours or name != "PYTHONPATH"}
    limit = 60 * PATIENCE * minutes + START_S
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit, env=around)
    except subprocess.TimeoutExpired as error:
        raise DidNotRunError(f"it did not end within {PATIENCE:g} times its minutes") from error
    seconds = time.monotonic() - began
    with open(log, "a", encoding="utf-8") as handle:
        handle.write(done.stdout + done.stderr)
    if done.returncode:
        raise DidNotRunError(f"it failed: {done.stderr.strip()[-LAST_LINES:]}")
    return seconds


def run_peer(
    system: System, recipe: Recipe, seed: int, train: Path, tests: dict[str, Path], folder: Path, work: Path
) -> dict[str, Any]:
    """Fit a peer and have it answer.

    Args:
        system: Which.
        recipe: What is learnt.
        seed: Of everything random.
        train: The recipe's training table.
        tests: Name of each test table to its copy without labels.
        folder: Takes job.json, the log and the answers, TEST.npz.
        work: Holds the environments.
    """
    kinds = kinds_of(recipe, train)
    read = {name: kind for name, kind in kinds.items() if kind in system.reads}
    if not read:
        raise DidNotRunError(f"it reads none of {', '.join(sorted(set(kinds.values())))}")
    media = [name for name, kind in read.items() if kind in MEDIA]
    columns = [*read, recipe.label, *([recipe.group] if recipe.group else [])]
    job = {
        "train": str(copy_table(train, list(dict.fromkeys(columns)), media, folder / "train.csv")),
        "tests": {test: str(path) for test, path in tests.items()},
        "label": recipe.label,
        "fields": read,
        "group": recipe.group,
        "minutes": recipe.minutes,
        "seed": seed,
        "out": str(folder),
    }
    (folder / "job.json").write_text(json.dumps(job, indent=1), encoding="utf-8")
    python = environment(system, work)
    command = [str(python), str(system.script), str(folder / "job.json")]
    seconds = timed(command, recipe.minutes, folder / "log.txt", ours=False)
    return {"seconds": round(seconds, 1), "left_out": sorted(set(kinds) - set(read))}


def run_ours(recipe: Recipe, seed: int, train: Path, tests: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Fit omnifuse by its command line and have it answer; arguments as for a peer."""
    model = folder / "model"
    start = [sys.executable, "-c", "from omnifuse.cli.main import run; run()"]
    words = ["fit", str(train), "--label", recipe.label, "--out", str(model), "--no-baselines"]
    words += [word for name in recipe.dropped(read_header(train)) for word in ("--drop", name)]
    words += ["--group", recipe.group] if recipe.group else []
    words += ["--time", recipe.time] if recipe.time else []
    words += ["--minutes", f"{recipe.minutes:g}", "--seed", str(seed)]
    steps = {"fit": timed([*start, *words], recipe.minutes, folder / "log.txt")}
    for test, path in tests.items():
        out = folder / f"answers-{Path(test).stem}.csv"
        words = ["predict", str(model), str(path), "--proba", "--out", str(out)]
        steps[f"predict {test}"] = timed([*start, *words], recipe.minutes, folder / "log.txt")
        probabilities, classes = read_answers(out, recipe.label)
        np.savez(folder / f"{Path(test).stem}.npz", probabilities=probabilities, classes=np.array(classes, dtype=str))
    seconds = round(sum(steps.values()), 1)
    return {"seconds": seconds, "steps": {name: round(value, 1) for name, value in steps.items()}, "left_out": []}


def read_answers(path: Path, label: str) -> tuple[np.ndarray, list[str]]:
    """Probabilities (R, C) and class names from what `omnifuse predict --proba` wrote; no answer is an even one."""
    with open(path, newline="", encoding="utf-8") as handle:
        table = csv.DictReader(handle)
        columns = [name for name in table.fieldnames or () if name.startswith(f"{label}=")]
        rows = [[float(row[name]) if row[name] else np.nan for name in columns] for row in table]
    found = np.array(rows, np.float64).reshape(len(rows), len(columns))
    return np.where(np.isnan(found), 1 / len(columns), found), [name[len(label) + 1 :] for name in columns]


def run_system(system: System, recipe: Recipe, seed: int, data: Path, work: Path, log: Path = LOG) -> dict[str, Any]:
    """Fit, time and score one system on one recipe.

    Returns:
        Seconds and scores of each test table, or the reason why there are none.
    """
    folder = work / system.name / recipe.name / f"seed{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = {"seed": seed, "key": key_of(system), "minutes": recipe.minutes, **source_tree()}
    run["load_before"] = [round(value, 2) for value in os.getloadavg()]
    try:
        train = table_path(recipe, recipe.train, data, work / "tables")
        tests = blind_tests(recipe, train, data, work, folder)
        if system.name == OURS:
            run |= run_ours(recipe, seed, train, tests, folder)
        else:
            run |= run_peer(system, recipe, seed, train, tests, folder, work)
        return run | {"scores": score_run(system, recipe, seed, folder, data, work, log)}
    except (DidNotRunError, RuntimeError, FileNotFoundError) as error:
        return run | {"reason": str(error)}


def key_of(system: System) -> str:
    """What decides the answers of a system: our source, or a peer's script and packages."""
    return source_tree()["state"] if system.name == OURS else system.key


def answers_path(system: str, recipe: Recipe, seed: int, test: str, work: Path) -> Path:
    """Where the scored answers of a run lie."""
    return work / system / recipe.name / f"seed{seed}" / f"scored-{Path(test).stem}.npz"


def written_answers(folder: Path, test: str) -> tuple[np.ndarray, list[str]]:
    """Probabilities (R, C) and class names that a process wrote for a test table."""
    with np.load(folder / f"{Path(test).stem}.npz", allow_pickle=False) as found:
        probabilities, classes = found["probabilities"], [str(name) for name in found["classes"]]
    if not np.isfinite(probabilities).all():
        raise DidNotRunError(f"{test}: some of its probabilities are no numbers")
    return probabilities, classes


def score_run(
    system: System, recipe: Recipe, seed: int, folder: Path, data: Path, work: Path, log: Path = LOG
) -> dict[str, dict[str, float]]:
    """Test table to every measure of the answers in a folder; each is one line of the log."""
    scores = {}
    for test in recipe.tests:
        probabilities, classes = written_answers(folder, test)
        who = system.name if system.name == OURS else f"peer {system.name}"
        answers = score_answers(
            recipe, test, lambda _, found=probabilities: found, classes,
            who=who, seed=seed, data=data, work=work / "tables", log=log,
        )  # fmt: skip
        answers.save(answers_path(system.name, recipe, seed, test, work))
        scores[test] = {name: round(value, 6) for name, value in measures(answers).items()}
    return scores


def summary(recipe: Recipe, runs: dict[str, list[dict[str, Any]]], work: Path) -> dict[str, dict[str, Any]]:
    """System and test table to mean, deviation and seconds and, of a peer, our difference and ratio of seconds."""
    done = {name: [run for run in found if "scores" in run] for name, found in runs.items()}
    summed: dict[str, dict[str, Any]] = {}
    for name, found in done.items():
        for test in recipe.tests if found else ():
            values = [run["scores"][test][recipe.measure] for run in found]
            item = {
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "seconds": round(float(np.mean([run["seconds"] for run in found])), 1),
            }
            ours = done.get(OURS, [])
            if name != OURS and ours:
                sides = (
                    [Answers.load(answers_path(who, recipe, run["seed"], test, work)) for run in side]
                    for who, side in ((OURS, ours), (name, found))
                )
                item |= paired(*sides, recipe.measure)
                item["ratio"] = round(float(np.mean([run["seconds"] for run in ours])) / item["seconds"], 3)
            summed.setdefault(name, {})[test] = item
    return summed


def usable(run: dict[str, Any], system: System, recipe: Recipe, work: Path) -> bool:
    """Whether a run was scored, its answers are there, and what decides them is still the same."""
    saved = [answers_path(system.name, recipe, run["seed"], test, work) for test in recipe.tests]
    same = (run["key"], run["minutes"]) == (key_of(system), recipe.minutes)
    return same and "scores" in run and all(path.exists() for path in saved)


def measure(
    recipe: Recipe,
    systems: Sequence[System],
    seeds: int,
    found: dict[str, Any],
    data: Path,
    work: Path,
    log: Path = LOG,
) -> None:
    """Run one recipe round by round and put it into the results after each run.

    Args:
        recipe: What is learnt.
        systems: Who learns it, in this order.
        seeds: Number of rounds.
        found: What peers.json holds; changed in place.
        data: Holds the data sets.
        work: Takes environments, models and answers.
        log: Takes a line for each scoring.
    """
    old = found["measured"].get(recipe.name, {}).get("runs", {})
    runs = {name: list(kept) for name, kept in old.items()}
    for system in systems:
        runs[system.name] = [run for run in runs.get(system.name, ()) if usable(run, system, recipe, work)]
    for seed in range(seeds):
        for system in systems:
            if any(run["seed"] == seed for run in runs[system.name]):
                continue
            print(f"{system.name} on {recipe.name}, seed {seed}", file=sys.stderr, flush=True)
            runs[system.name].append(run_system(system, recipe, seed, data, work, log))
            runs[system.name].sort(key=lambda run: run["seed"])
            found["systems"][system.name] = {
                "words": system.words,
                "needed": system.needed,
                "packages": system.packages,
                "reads": system.reads,
            }
            found["measured"][recipe.name] = {
                "pack": recipe.pack,
                "measure": recipe.measure,
                "minutes": recipe.minutes,
                "fields": recipe.used,
                "tests": recipe.tests,
                "hardware": hardware(),
                "runs": runs,
                "summary": summary(recipe, runs, work),
            }
            write_json(RESULTS, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", action="append", choices=sorted(SYSTEMS), help="only this one; repeat for several")
    parser.add_argument("--recipe", action="append", choices=sorted(all_recipes()), help="only this one")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    data = find_data()
    if data is None:
        return 0
    systems = [system for name, system in SYSTEMS.items() if not asked.system or name in asked.system]
    found = read_json(RESULTS) or {"systems": {}, "measured": {}}
    for system in systems:
        prepare(system, ROOT / "runs" / "peers")
    for recipe in all_recipes().values():
        if not asked.recipe or recipe.name in asked.recipe:
            measure(recipe, systems, asked.seeds, found, data, ROOT / "runs" / "peers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
