"""`python benchmarks/peers/race.py`: how long omnifuse takes to reach the scores of the peers, as whole processes.

    OMNIFUSE_DATA=FOLDER python benchmarks/peers/race.py [--recipe NAME...] [--peer NAME...] [--seeds N]

It stands on results/peers.json. Wherever a peer's mean score on the first test table beats the classes' shares of the
training rows, omnifuse gets a fifth, a third, a half and all of the peer's mean seconds in turn, until its mean score
is the peer's. Each try is one process (ours.py) from its start to the written answers to the test rows. What it takes
beside the training is timed before, with seconds of training and without reading a label of a test row. A try that
ends after its share is planned and run once more before anything is scored, and is never scored when it is late again.
Every scoring is a line in results/test_log.jsonl. It resumes: tries on our source as it is now, against the same runs
of the peer, are kept. Results: benchmarks/results/race.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
# In place of this folder, where scripts have the names of the packages that they run
sys.path[:] = [str(ROOT), *(place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent)]

from recipes import Recipe, all_recipes, find_data, read_header, table_path  # noqa: E402

from benchmarks.peers.run import RESULTS as PEERS  # noqa: E402
from benchmarks.peers.run import DidNotRunError, blind_tests, timed, written_answers  # noqa: E402
from benchmarks.peers.systems import HOME, OURS, SYSTEMS  # noqa: E402
from benchmarks.run import hardware, read_json, write_json  # noqa: E402
from benchmarks.score import LOG, measures, score_answers, source_tree  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "race.json"
SHARES = (1 / 5, 1 / 3, 1 / 2, 1.0)
# Seconds of training: of the process that times everything else, and the fewest that a try is made with
PROBE_S, FLOOR_S = 3.0, 2.0
# A try is in time up to this part above its share
TOLERANCE = 0.02
# Processes of one share and seed: a late one says what the next must leave for everything but training
PROCESSES = 2


@dataclass(frozen=True)
class Rival:
    """A peer's runs of a recipe that were scored.

    Attributes:
        score: Mean of the recipe's measure on its first test table.
        seconds: Mean of their whole processes.
        num_runs: How many.
        keys: What decided their answers.
        minutes: What they were given.
    """

    score: float
    seconds: float
    num_runs: int
    keys: list[str]
    minutes: list[float]


def rival_of(recipe: Recipe, runs: list[dict[str, Any]]) -> Rival | None:
    """The peer's mean over its scored runs; None where there are none."""
    scored = [run for run in runs if "scores" in run]
    if not scored:
        return None
    return Rival(
        round(float(np.mean([run["scores"][recipe.tests[0]][recipe.measure] for run in scored])), 6),
        round(float(np.mean([run["seconds"] for run in scored])), 1),
        len(scored),
        sorted({run["key"] for run in scored}),
        sorted({run["minutes"] for run in scored}),
    )


def planned_minutes(share: float, theirs_s: float, overhead_s: float) -> float | None:
    """Minutes of training that fit into a share of the peer's seconds; None where not even the floor fits."""
    left = share * theirs_s - overhead_s
    return left / 60 if left >= FLOOR_S else None


def in_time(seconds: float, share: float, theirs_s: float) -> bool:
    return seconds <= share * theirs_s * (1 + TOLERANCE)


def class_shares(recipe: Recipe, train: Path) -> dict[str, float]:
    """Class to its share of the labelled training rows, in sorted order."""
    with open(train, newline="", encoding="utf-8") as handle:
        counts = Counter(row[recipe.label] for row in csv.DictReader(handle) if row[recipe.label])
    return {name: counts[name] / counts.total() for name in sorted(counts)}


def majority(recipe: Recipe, kept: dict[str, Any], data: Path, work: Path, log: Path = LOG) -> dict[str, Any]:
    """Every measure on the first test table when each row is given the classes' shares; kept while these are the same.

    Args:
        recipe: What is learnt.
        kept: What an earlier call returned, or nothing.
        data: Holds the data sets.
        work: Takes tables that are made.
        log: Takes a line for the scoring.
    """
    test, shares = recipe.tests[0], class_shares(recipe, table_path(recipe, recipe.train, data, work / "tables"))
    if (kept.get("test"), kept.get("shares")) == (test, shares):
        return kept

    def answer(path: Path) -> np.ndarray:
        with open(path, newline="", encoding="utf-8") as handle:
            num_rows = sum(1 for _ in csv.DictReader(handle))
        return np.tile(list(shares.values()), (num_rows, 1))

    answers = score_answers(
        recipe, test, answer, list(shares), who="majority", seed=0, data=data, work=work / "tables", log=log
    )
    scores = {name: round(value, 6) for name, value in measures(answers).items()}
    return {"test": test, "shares": shares, "scores": scores}


def run_ours(
    recipe: Recipe, seed: int, minutes: float, folder: Path, data: Path, work: Path, patience_s: float
) -> dict[str, Any]:
    """One process of omnifuse, from its start to the answers in `folder`.

    Args:
        recipe: What is learnt.
        seed: Of everything random.
        minutes: Of training.
        folder: Made anew; takes job.json, the log, the model and the answers, TEST.npz.
        data: Holds the data sets.
        work: Takes tables that are made.
        patience_s: The longer a process may take, the longer this is; `timed` says how much.

    Raises:
        DidNotRunError: It failed or did not end.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    train = table_path(recipe, recipe.train, data, work / "tables")
    job = {
        "train": str(train),
        "tests": {test: str(path) for test, path in blind_tests(recipe, train, data, work, folder).items()},
        "label": recipe.label,
        "drop": recipe.dropped(read_header(train)),
        "group": recipe.group,
        "time": recipe.time,
        "window": recipe.window,
        "minutes": minutes,
        "seed": seed,
        "out": str(folder),
    }
    (folder / "job.json").write_text(json.dumps(job, indent=1), encoding="utf-8")
    load = [round(value, 2) for value in os.getloadavg()]
    command = [sys.executable, str(HOME / "ours.py"), str(folder / "job.json")]
    seconds = timed(command, max(minutes, patience_s / 60), folder / "log.txt")
    return {"seed": seed, "minutes": round(minutes, 4), "seconds": round(seconds, 1), "load_before": load}


def probe(recipe: Recipe, kept: dict[str, Any], data: Path, work: Path, patience_s: float) -> dict[str, Any]:
    """What a process takes beside its training, s, from one that trains for seconds; kept while our source is the same.

    Nothing of it is scored.
    """
    tree = source_tree()
    if kept.get("state") == tree["state"]:
        return kept
    found = run_ours(recipe, 0, PROBE_S / 60, work / "race" / recipe.name / "probe", data, work, patience_s)
    return {**tree, **found, "overhead_s": round(max(found["seconds"] - PROBE_S, 0.0), 1)}


def run_share(
    share: float, theirs: Rival, timing: dict[str, Any], seeds: int, start: Callable[[int, float], dict[str, Any]]
) -> dict[str, Any]:
    """All processes of one share, unscored: its runs where all are in time, else why it cannot be scored.

    Args:
        share: Of the peer's seconds.
        theirs: The peer.
        timing: Holds `overhead_s`, which a late process raises; changed in place.
        seeds: Number of runs.
        start: Seed and minutes to a run with its seconds.
    """
    runs: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []
    for seed in range(seeds):
        for _ in range(PROCESSES):
            minutes = planned_minutes(share, theirs.seconds, timing["overhead_s"])
            if minutes is None:
                return {"share": share, "refused": "too short", **({"late": late} if late else {})}
            run = start(seed, minutes)
            if in_time(run["seconds"], share, theirs.seconds):
                runs.append(run)
                break
            late.append(run)
            beside = round(run["seconds"] - 60 * minutes, 1)
            timing["overhead_s"] = max(timing["overhead_s"], beside)
        else:
            return {"share": share, "refused": "late", "late": late}
    return {"share": share, "runs": runs, **({"late": late} if late else {})}


def judged(found: dict[str, Any], theirs: Rival) -> dict[str, Any]:
    """A share with its means and whether they reach the peer's; its runs have scores."""
    seconds = float(np.mean([run["seconds"] for run in found["runs"]]))
    score = round(float(np.mean([run["score"] for run in found["runs"]])), 6)
    reached = score >= theirs.score and in_time(seconds, found["share"], theirs.seconds)
    return found | {"seconds": round(seconds, 1), "score": score, "reached": reached}


def kept_tries(old: dict[str, Any], theirs: Rival, seeds: int) -> dict[float, dict[str, Any]]:
    """Share to its try, of what an earlier call left, where all that decides it is the same; failures are left out."""
    same = (old.get("state"), old.get("seeds"), old.get("theirs")) == (source_tree()["state"], seeds, asdict(theirs))
    return {item["share"]: item for item in old.get("tries", ()) if "reason" not in item} if same else {}


def race(
    recipe: Recipe,
    name: str,
    theirs: Rival,
    seeds: int,
    entry: dict[str, Any],
    data: Path,
    work: Path,
    save: Callable[[], None],
    log: Path = LOG,
) -> None:
    """Give omnifuse a larger share of a peer's seconds until it reaches the peer's score.

    Args:
        recipe: What is learnt.
        name: The peer's.
        theirs: Its score and seconds.
        seeds: Runs of each share.
        entry: What race.json holds of the recipe, with the majority's scores; changed in place.
        data: Holds the data sets.
        work: Takes models and answers.
        save: Called after each share.
        log: Takes a line for each scoring.
    """
    base, seeds = entry["majority"]["scores"][recipe.measure], min(seeds, theirs.num_runs)
    tries = kept_tries(entry["peers"].get(name, {}), theirs, seeds)
    mine: dict[str, Any] = {**source_tree(), "theirs": asdict(theirs), "seeds": seeds, "reached": None}
    mine |= {"beats_majority": theirs.score > base, "tries": list(tries.values())}
    entry["peers"][name] = mine
    if not mine["beats_majority"]:
        save()
        return
    folder, test = work / "race" / recipe.name / name, recipe.tests[0]
    try:
        entry["probe"] = probe(recipe, entry.get("probe", {}), data, work, theirs.seconds)
    except DidNotRunError as error:
        mine["reason"] = str(error)
        save()
        return

    def start(seed: int, minutes: float) -> dict[str, Any]:
        return run_ours(recipe, seed, minutes, folder / f"seed{seed}", data, work, theirs.seconds)

    for share in SHARES:
        found = tries.get(share)
        if found is None:
            print(f"{recipe.name}: {share:.2f} of the seconds of {name}", file=sys.stderr, flush=True)
            try:
                found = run_share(share, theirs, entry["probe"], seeds, start)
                for run in found.get("runs", ()):
                    probabilities, classes = written_answers(folder / f"seed{run['seed']}", test)
                    answers = score_answers(
                        recipe, test, lambda _, given=probabilities: given, classes,
                        who=f"{OURS}, {share:.2f} of the seconds of {name}", seed=run["seed"],
                        data=data, work=work / "tables", log=log,
                    )  # fmt: skip
                    run["score"] = round(measures(answers)[recipe.measure], 6)
                found = judged(found, theirs) if "runs" in found else found
            except (DidNotRunError, FileNotFoundError) as error:
                found = {"share": share, "reason": str(error)}
        tries[share] = found
        mine["tries"] = [tries[key] for key in sorted(tries)]
        if found.get("reached"):
            ratio = round(found["seconds"] / theirs.seconds, 3)
            mine["reached"] = {"share": share, "seconds": found["seconds"], "score": found["score"], "ratio": ratio}
        save()
        if mine["reached"]:
            return


def same_machine(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(first.get(name) == second.get(name) for name in ("processor", "cores", "accelerator"))


def main() -> int:
    peers = sorted(name for name in SYSTEMS if name != OURS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", action="append", choices=sorted(all_recipes()), help="only this one")
    parser.add_argument("--peer", action="append", choices=peers, help="only against this one; repeat for several")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each share, at most as many as the peer's")
    asked = parser.parse_args()
    data = find_data()
    if data is None:
        return 0
    measured, found = read_json(PEERS).get("measured", {}), read_json(RESULTS) or {"measured": {}}
    for recipe in all_recipes().values():
        if recipe.name in measured and (not asked.recipe or recipe.name in asked.recipe):
            names = [name for name in peers if not asked.peer or name in asked.peer]
            race_all(recipe, names, asked.seeds, measured[recipe.name], found, data, ROOT / "runs" / "peers")
    return 0


def race_all(
    recipe: Recipe,
    names: list[str],
    seeds: int,
    measured: dict[str, Any],
    found: dict[str, Any],
    data: Path,
    work: Path,
    log: Path = LOG,
) -> None:
    """Race against several peers on one recipe.

    Args:
        recipe: What is learnt.
        names: The peers'.
        seeds: Runs of each share.
        measured: What peers.json holds of the recipe.
        found: What race.json holds; changed in place.
        data: Holds the data sets.
        work: Takes models and answers.
        log: Takes a line for each scoring.
    """
    rivals = {name: rival_of(recipe, measured["runs"].get(name, [])) for name in names}
    here = hardware()
    if not any(rivals.values()):
        return
    if not same_machine(here, measured["hardware"]):
        print(f"{recipe.name} skipped: the peers' seconds are of another machine; run peers/run.py", file=sys.stderr)
        return
    old = found["measured"].get(recipe.name, {})
    try:
        shares = majority(recipe, old.get("majority", {}), data, work, log)
    except FileNotFoundError as error:
        print(f"{recipe.name} skipped: {error}", file=sys.stderr)
        return
    entry = {
        "measure": recipe.measure,
        "test": recipe.tests[0],
        "hardware": here,
        "majority": shares,
        "peers": {},
        **{name: old[name] for name in ("probe", "peers") if name in old},
    }
    found["measured"][recipe.name] = entry
    for name, theirs in rivals.items():
        if theirs is not None:
            race(recipe, name, theirs, seeds, entry, data, work, partial(write_json, RESULTS, found), log)


if __name__ == "__main__":
    sys.exit(main())
