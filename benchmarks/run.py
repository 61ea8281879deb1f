"""`make bench`: fit every recipe over seeds, score it beside its plain reference, write results/PACK.json and the page.

    OMNIFUSE_DATA=FOLDER python benchmarks/run.py [--pack NAME...] [--seeds N] [--quick]

Goes pack by pack and resumes: a seed that was measured on the source as it is now is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recipes import Recipe, all_recipes, command_of, find_data, fit, read_header, table_path, unfilled, whole_of  # noqa: E402

from benchmarks import page, plain  # noqa: E402
from benchmarks.losses import losses  # noqa: E402
from benchmarks.score import Answers, measures, model_answer, paired, score_answers, source_tree  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
INTERESTING = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve")
QUICK_MINUTES = 0.3
PLAIN_SEEDS = 1


def hardware() -> dict[str, Any]:
    """Processor, cores that this process may use, the flags that decide its speed, and versions."""
    import torch

    name, flags = platform.processor() or platform.machine(), set()
    information = Path("/proc/cpuinfo")
    for line in information.read_text(errors="replace").splitlines() if information.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in INTERESTING if flag in flags],
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _plain_key() -> str:
    return hashlib.sha256(Path(plain.__file__).read_bytes()).hexdigest()[:12]


def measure_plain(recipe: Recipe, old: dict[str, Any], data: Path, work: Path, count: int) -> dict[str, Any]:
    """Fit and score the reference over so many seeds."""
    recipe = unfilled(recipe)
    saved = [
        work / recipe.name / f"plain-{seed}-{Path(test).stem}.npz" for seed in range(count) for test in recipe.tests
    ]
    kept = old.get("plain", {})
    if kept.get("key") == _plain_key() and kept.get("seeds") == count and all(path.exists() for path in saved):
        return dict(kept)
    seconds, found = [], None
    for seed in range(count):
        found = plain.fit_plain(recipe, data, work / "tables", seed)
        seconds.append(found.seconds)
        for test in recipe.tests:
            answers = score_answers(
                recipe, test, found.answer, found.classes, who="plain", seed=seed, data=data, work=work / "tables"
            )
            answers.save(work / recipe.name / f"plain-{seed}-{Path(test).stem}.npz")
    assert found is not None
    return {"key": _plain_key(), "words": found.words, "seeds": count, "seconds": round(float(np.mean(seconds)), 2)}


def measure_seed(recipe: Recipe, seed: int, data: Path, work: Path, minutes: float) -> dict[str, Any]:
    """Fit one seed and score it on every test table."""
    out = work / recipe.name / f"seed{seed}"
    load, began = os.getloadavg(), time.monotonic()
    fit(recipe, data, out, seed, minutes=minutes, work=work / "tables")
    seconds = time.monotonic() - began
    answer, classes = model_answer(out)
    scores, alone = {}, {}
    for test in recipe.tests:
        answers = score_answers(
            recipe, test, answer, classes, who="omnifuse", seed=seed, data=data, work=work / "tables"
        )
        answers.save(work / recipe.name / f"seed{seed}-{Path(test).stem}.npz")
        scores[test] = {name: round(value, 6) for name, value in measures(answers).items()}
        if recipe.split:
            alone[test] = _with_only(recipe, test, out, seed, data, work)
    return {
        "seed": seed,
        **source_tree(),
        "seconds": round(seconds, 1),
        "load_before": [round(value, 2) for value in load],
        "load_after": [round(value, 2) for value in os.getloadavg()],
        "scores": scores,
        "with_only": alone,
    }


def _with_only(recipe: Recipe, test: str, out: Path, seed: int, data: Path, work: Path) -> dict[str, float]:
    """Field to the measure when the model is given this field of the test rows and no other."""
    found = {}
    for name in recipe.used:
        answer, classes = model_answer(out, only=name)
        answers = score_answers(
            recipe, test, answer, classes, who=f"omnifuse, {name} only", seed=seed, data=data, work=work / "tables"
        )
        found[name] = round(measures(answers)[recipe.measure], 6)
    return found


def summary(recipe: Recipe, runs: list[dict[str, Any]], work: Path, plain_seeds: int) -> dict[str, Any]:
    """Test table to mean, deviation, the reference's mean, the difference and whether the aim is reached."""
    found = {}
    for number, test in enumerate(recipe.tests):
        stem = Path(test).stem
        values = [run["scores"][test][recipe.measure] for run in runs]
        ours = [Answers.load(work / recipe.name / f"seed{run['seed']}-{stem}.npz") for run in runs]
        plain_folder = work / unfilled(recipe).name
        others = [Answers.load(plain_folder / f"plain-{seed}-{stem}.npz") for seed in range(plain_seeds)]
        reference = [measures(item)[recipe.measure] for item in others]
        mean, aim = float(np.mean(values)), recipe.aims[number] if recipe.aims else float(np.mean(reference))
        found[test] = {
            "rows": len(ours[0].truth),
            "mean": mean,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "plain": float(np.mean(reference)),
            **paired(ours, others, recipe.measure),
            "aim": aim,
            # Aims are figures of three digits
            "reached": round(mean, 3) >= aim,
        }
    return found


def bench(recipe: Recipe, data: Path, work: Path, results: Path, *, seeds: int | None, quick: bool) -> None:
    """Measure one recipe and put it into its pack's file, after each seed."""
    path = results / f"{recipe.pack}.json"
    pack = read_json(path) or {"pack": recipe.pack, "recipes": {}}
    old, state = pack["recipes"].get(recipe.name, {}), source_tree()["state"]
    count = seeds or (1 if quick else recipe.seeds)
    minutes = min(recipe.minutes, QUICK_MINUTES) if quick else recipe.minutes
    header = read_header(table_path(recipe, recipe.train, data, work / "tables"))
    reference = measure_plain(recipe, old, data, work, PLAIN_SEEDS)
    runs: list[dict[str, Any]] = []
    for seed in range(count):
        stored = [work / recipe.name / f"seed{seed}-{Path(test).stem}.npz" for test in recipe.tests]
        kept = [run for run in old.get("runs", []) if run["seed"] == seed and run["state"] == state]
        usable = kept and old.get("minutes") == minutes and all(item.exists() for item in stored)
        print(f"{recipe.name} seed {seed}: {'kept' if usable else 'fitting'}", file=sys.stderr, flush=True)
        runs.append(kept[0] if usable else measure_seed(recipe, seed, data, work, minutes))
        entry = {
            "command": command_of(recipe, header, minutes=minutes),
            "measure": recipe.measure,
            "fields": list(recipe.used),
            "holes": recipe.holes,
            "fill": recipe.fill,
            "repository": recipe.repository,
            "minutes": minutes,
            "hardware": hardware(),
            "tree": runs[-1]["tree"],
            "dirty": runs[-1]["dirty"],
            "seconds": round(float(np.mean([run["seconds"] for run in runs])), 1),
            "runs": runs,
            "plain": reference,
            "tests": summary(recipe, runs, work, reference["seeds"]),
        }
        if recipe.holes:
            whole = pack["recipes"].get(whole_of(recipe).name, {})
            entry |= {"whole": whole_of(recipe).name, "loss": losses(recipe, entry, whole, work)}
        pack["recipes"][recipe.name] = entry
        write_json(path, pack)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", action="append", help="only this pack or recipe; repeat for several")
    parser.add_argument("--seeds", type=int, help="instead of each recipe's number")
    parser.add_argument("--quick", action="store_true", help="one seed, seconds of training; kept apart in runs/")
    asked = parser.parse_args()
    recipes = all_recipes()
    known = {name for recipe in recipes.values() for name in (recipe.name, recipe.pack)}
    unknown = set(asked.pack or ()) - known
    if unknown:
        parser.error(f"there is no pack {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    data = find_data()
    if data is None:
        return 0
    work = ROOT / "runs" / ("bench-quick" if asked.quick else "bench")
    results = work / "results" if asked.quick else RESULTS
    for recipe in recipes.values():
        if asked.pack and not {recipe.name, recipe.pack} & set(asked.pack):
            continue
        try:
            bench(recipe, data, work, results, seeds=asked.seeds, quick=asked.quick)
        except FileNotFoundError as error:
            print(f"{recipe.name} skipped: {error}", file=sys.stderr)
    if not asked.quick:
        page.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
