"""`make bench`: fit every recipe over seeds, score it beside its plain reference, write results/PACK.json and the page.

    OMNIFUSE_DATA=FOLDER python benchmarks/run.py [--pack NAME...] [--seeds N] [--quick]

Goes pack by pack and resumes: a seed that was measured on the source as it is now is kept.
"""

from __future__ import annotations

import argparse
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

from benchmarks import page  # noqa: E402
from benchmarks.losses import losses  # noqa: E402
from benchmarks.references import fit_reference, reference_key, reference_names  # noqa: E402
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


def plain_path(recipe: Recipe, name: str, seed: int, test: str, work: Path) -> Path:
    """Where the answers of a plain reference are kept; a filled recipe shares those of the recipe with empty cells."""
    recipe = unfilled(recipe)
    who = "plain" if name == reference_names(recipe)[0] else f"plain-{name}"
    return work / recipe.name / f"{who}-{seed}-{Path(test).stem}.npz"


def measure_plain(
    recipe: Recipe, name: str, kept: dict[str, Any], data: Path, work: Path, count: int
) -> dict[str, Any]:
    """Fit and score a reference over so many seeds; what was measured of the file that it stands in is kept."""
    recipe = unfilled(recipe)
    key, seconds, found = reference_key(name), [], None
    saved = [plain_path(recipe, name, seed, test, work) for seed in range(count) for test in recipe.tests]
    if kept.get("key") == key and kept.get("seeds") == count and all(path.exists() for path in saved):
        return dict(kept)
    for seed in range(count):
        found = fit_reference(name, recipe, data, work / "tables", seed)
        seconds.append(found.seconds)
        for test in recipe.tests:
            who = "plain" if name == recipe.name else f"plain {name}"
            answers = score_answers(
                recipe, test, found.answer, found.classes, who=who, seed=seed, data=data, work=work / "tables"
            )
            answers.save(plain_path(recipe, name, seed, test, work))
    assert found is not None
    return {"key": key, "words": found.words, "seeds": count, "seconds": round(float(np.mean(seconds)), 2)}


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
    """Test table to the leading measure against the reference, and under "also" to every further measure."""
    found = {}
    for number, test in enumerate(recipe.tests):
        ours = [Answers.load(work / recipe.name / f"seed{run['seed']}-{Path(test).stem}.npz") for run in runs]
        rivals = {
            name: [Answers.load(plain_path(recipe, name, seed, test, work)) for seed in range(plain_seeds)]
            for name in reference_names(unfilled(recipe))
        }
        parts = {
            measure: _against(
                measure,
                aims[number] if aims else None,
                [run["scores"][test][measure] for run in runs],
                ours,
                rivals,
            )
            for measure, aims in recipe.measures.items()
        }
        lead = parts.pop(recipe.measure)
        found[test] = {"rows": len(ours[0].truth), **lead, **({"also": parts} if parts else {})}
    return found


def _against(
    measure: str, aim: float | None, values: list[float], ours: list[Answers], rivals: dict[str, list[Answers]]
) -> dict[str, Any]:
    """Mean, deviation, the mean of the reference that is best at it, the difference and whether the aim is reached."""
    means = {name: float(np.mean([measures(item)[measure] for item in others])) for name, others in rivals.items()}
    best = max(means, key=lambda name: means[name])
    mean, aim = float(np.mean(values)), means[best] if aim is None else aim
    return {
        "mean": mean,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "plain": means[best],
        **({"references": means} if len(means) > 1 else {}),
        **paired(ours, rivals[best], measure),
        "aim": aim,
        # Aims are figures of three digits
        "reached": round(mean, 3) >= aim,
    }


def bench(recipe: Recipe, data: Path, work: Path, results: Path, *, seeds: int | None, quick: bool) -> None:
    """Measure one recipe and put it into its pack's file, after each seed."""
    path = results / f"{recipe.pack}.json"
    pack = read_json(path) or {"pack": recipe.pack, "recipes": {}}
    old, state = pack["recipes"].get(recipe.name, {}), source_tree()["state"]
    count = seeds or (1 if quick else recipe.seeds)
    minutes = min(recipe.minutes, QUICK_MINUTES) if quick else recipe.minutes
    header = read_header(table_path(recipe, recipe.train, data, work / "tables"))
    own, *others = reference_names(unfilled(recipe))
    reference = measure_plain(recipe, own, old.get("plain", {}), data, work, PLAIN_SEEDS)
    further = {
        name: measure_plain(recipe, name, old.get("further", {}).get(name, {}), data, work, PLAIN_SEEDS)
        for name in others
    }
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
            "time": recipe.time,
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
            **({"further": further} if further else {}),
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
