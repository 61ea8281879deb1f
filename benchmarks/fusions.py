"""Every fusion on the same footing: on the recipes that read several fields, and on generated worlds.

    OMNIFUSE_DATA=FOLDER python benchmarks/fusions.py [--subject NAME...] [--minutes M] [--seeds N] [--quick]

Each subject is one `omnifuse fit --fusion all`: every fusion trains on the same training rows and seeds for the same
minutes, and is scored on rows that its networks had not learnt from. No test table is read. Asked is whether the
default lies within one point of the best. Results go to results/fusions.json after each subject; one that was measured
on the source as it is now is kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import recipes  # noqa: E402

from benchmarks.run import RESULTS, hardware, read_json, write_json  # noqa: E402
from benchmarks.score import source_tree  # noqa: E402

# All its columns are one field
ONE_FIELD = ("occupancy",)
MINUTES, QUICK_EPOCHS, WORLD_ROWS, QUICK_ROWS = 1.0, 1, 1200, 60
POINT = 0.01


def subjects() -> list[str]:
    """Recipes of several fields, then worlds; a recipe with filled cells is a control."""
    from omnifuse.data.worlds import WORLDS

    several = [
        item.name
        for item in recipes.all_recipes().values()
        if len(item.used) > 1 and not item.fill and item.name not in ONE_FIELD
    ]
    return [*several, *(f"world {name}" for name in WORLDS)]


def command_of(name: str, minutes: float, seeds: int) -> str:
    """What a user types for a subject; the minutes are those of all fusions together."""
    from omnifuse.api.options import fusion_names

    total = minutes * len(fusion_names("all")) * seeds
    return f"{name}: omnifuse fit ... --fusion all --minutes {total:g} --seeds {seeds} --no-baselines"


def compare(name: str, work: Path, *, minutes: float, seeds: int, quick: bool) -> dict[str, Any]:
    """The comparison that a fit makes on one subject.

    Args:
        name: One of `subjects`.
        work: Takes run folders and worlds.
        minutes: Of each fusion and seed.
        seeds: Trainings of each fusion.
        quick: One pass each, on a small world.

    Raises:
        FileNotFoundError: The data of the recipe are not there.
    """
    import omnifuse
    from omnifuse.api.options import fusion_names

    folder = work / name.replace(" ", "_")
    limit: dict[str, Any] = (
        {"epochs": QUICK_EPOCHS} if quick else {"minutes": minutes * len(fusion_names("all")) * seeds}
    )
    more = {"fusion": "all", "seeds": seeds, "baselines": False, "logger": "none", "report_media": "none", **limit}
    if name.startswith("world "):
        rows = QUICK_ROWS if quick else WORLD_ROWS
        train, _ = omnifuse.generate_world(folder / "data", name.removeprefix("world "), num_train=rows, num_test=1)
        model = omnifuse.fit(train, "label", out=folder / "run", **more)
    else:
        data = recipes.find_data()
        if data is None:
            raise FileNotFoundError("OMNIFUSE_DATA names no folder")
        recipe = recipes.all_recipes()[name]
        table = recipes.table_path(recipe, recipe.train, data, work / "tables")
        model = omnifuse.fit(table, recipe.label, out=folder / "run", **recipes.options_of(recipe, table), **more)
    found: dict[str, Any] = model.manifest["fusions"]
    return found


def gap(table: dict[str, Any]) -> dict[str, Any]:
    """How far the default lies below the best fusion, in units of the metric, and whether within one point."""
    known = [row for row in table["rows"] if row["mean"] is not None]
    default = next(row for row in known if row["name"] == table["default"])
    best = max(known, key=lambda row: row["mean"])
    return {
        "best": best["name"],
        "gap": best["mean"] - default["mean"],
        "within": best["mean"] - default["mean"] <= POINT,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", action="append", choices=subjects(), help="only this one; repeat for several")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of each fusion and seed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one pass each, to see that it runs; kept apart in runs/")
    asked = parser.parse_args()
    work = ROOT / "runs" / ("fusions-quick" if asked.quick else "fusions")
    path = (work if asked.quick else RESULTS) / "fusions.json"
    for name in asked.subject or subjects():
        results, state = read_json(path) or {"measured": {}}, source_tree()
        old = results["measured"].get(name, {})
        if (old.get("state"), old.get("minutes"), old.get("seeds")) == (state["state"], asked.minutes, asked.seeds):
            continue
        print(f"{name}: comparing", file=sys.stderr, flush=True)
        load, began = os.getloadavg(), time.monotonic()
        try:
            table = compare(name, work, minutes=asked.minutes, seeds=asked.seeds, quick=asked.quick)
        except FileNotFoundError as error:
            print(f"{name} skipped: {error}", file=sys.stderr)
            continue
        results["measured"][name] = {
            "command": command_of(name, asked.minutes, asked.seeds),
            "minutes": asked.minutes,
            "seeds": asked.seeds,
            **state,
            "hardware": hardware(),
            "load_before": [round(value, 2) for value in load],
            "seconds": round(time.monotonic() - began, 1),
            **table,
            **gap(table),
        }
        write_json(path, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
