"""Writes docs/benchmarks.md and the table between the score markers of the READMEs from results/*.json.

    python benchmarks/page.py

Works with whatever results there are; a README without markers is left alone.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    page_compress,
    page_fusions,
    page_gpu,
    page_peers,
    page_serve,
    page_tables,
)
from benchmarks.markdown import difference, figure, machine_words, mean_score, table_text, tree_words  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- scores -->\n).*?(<!-- /?scores -->)", re.DOTALL)
LOSS_SHARE = 2 / 3
HEADS = {
    "README.md": ("data", "reads", "measure", "omnifuse", "plain reference", "difference [95%]"),
    "README.zh-CN.md": ("数据", "输入", "指标", "omnifuse", "普通参考模型", "差值 [95%]"),
}
CAPTIONS = {
    "README.md": "{seeds} seeds, source tree `{tree}`, {hardware}; details and commands: "
    "[docs/benchmarks.md](docs/benchmarks.md).",
    "README.zh-CN.md": "随机种子数：{seeds}。源代码树：`{tree}`。硬件：{hardware}。详情与命令："  # noqa: RUF001
    "[docs/benchmarks.md](docs/benchmarks.md)。",
}


def read_results(folder: Path) -> list[dict[str, Any]]:
    """One entry a recipe that was measured, with its name and pack; speed is apart."""
    found = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, recipe in content.get("recipes", {}).items():
            found.append({"name": name, "pack": content["pack"], **recipe})
    return found


def _reads(recipe: dict[str, Any]) -> str:
    words = " + ".join(recipe["fields"]) if len(recipe["fields"]) < 4 else f"{len(recipe['fields'])} fields"
    words += " and what came before" if recipe.get("time") else ""
    empty = "black or silent" if recipe.get("fill") else "empty"
    return words + (f", {recipe['holes']:.0%} of the cells {empty}" if recipe["holes"] else "")


def _measured(recipe: dict[str, Any], lead: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every published metric of a test table with its figures, the leading one first."""
    return {recipe["measure"]: lead, **lead.get("also", {})}


def short_table(recipes: list[dict[str, Any]], readme: str) -> str:
    """The table of a README and the line beneath it; filled holes are a control, shown on the page alone."""
    recipes = [recipe for recipe in recipes if not recipe.get("fill")]
    if not recipes:
        return "`make bench`\n"
    rows = [
        [
            recipe["name"] if len(recipe["tests"]) == 1 else f"{recipe['name']} ({Path(table).stem})",
            _reads(recipe),
            measure,
            mean_score(test),
            figure(test["plain"]),
            difference(test),
        ]
        for recipe in recipes
        for table, lead in recipe["tests"].items()
        for measure, test in _measured(recipe, lead).items()
    ]
    caption = CAPTIONS[readme].format(
        seeds=" / ".join(str(count) for count in sorted({len(recipe["runs"]) for recipe in recipes})),
        tree=", ".join(sorted({tree_words(recipe) for recipe in recipes})),
        hardware="; ".join(sorted({machine_words(recipe["hardware"]) for recipe in recipes})),
    )
    return table_text(HEADS[readme], rows) + "\n" + caption + "\n"


def _scores(recipe: dict[str, Any]) -> str:
    """A table a metric, a line a test table."""
    tables: dict[str, list[list[str]]] = {}
    for table, lead in recipe["tests"].items():
        for measure, test in _measured(recipe, lead).items():
            tables.setdefault(measure, []).append(
                [
                    table,
                    str(lead["rows"]),
                    mean_score(test),
                    " ".join(figure(run["scores"][table][measure]) for run in recipe["runs"]),
                    figure(test["plain"]),
                    difference(test),
                    figure(test["mean"] / test["plain"] if test["plain"] else None),
                    figure(test["aim"]),
                    "yes" if test["reached"] else "no",
                ]
            )
    heads = {
        measure: ("test table", "rows", measure, "each seed", "plain", "difference [95%]", "ratio", "aim", "reached")
        for measure in tables
    }
    return "\n".join(table_text(heads[measure], rows) for measure, rows in tables.items())


def _references(recipe: dict[str, Any]) -> str:
    """What the plain references are; of several, what each reaches."""
    lines = []
    for name, plain in {recipe["name"]: recipe["plain"], **recipe.get("further", {})}.items():
        reached = [
            f"{measure} {figure(test['references'][name])} on {table}"
            for table, lead in recipe["tests"].items()
            for measure, test in _measured(recipe, lead).items()
            if name in test.get("references", {})
        ]
        words = "; ".join([plain["words"], *reached, f"{plain['seconds']:.0f} s, {plain['seeds']} seed(s)"])
        lines.append(f"- plain reference: {words}\n")
    return "".join(lines)


def _section(recipe: dict[str, Any]) -> str:
    runs = recipe["runs"]
    alone = ""
    for table in recipe["tests"]:
        found = [run["with_only"][table] for run in runs if run.get("with_only", {}).get(table)]
        for name in found[0] if found else ():
            mean = sum(item[name] for item in found) / len(found)
            alone += f"- given only {name} of {table}: {figure(mean)}\n"
    loads = " ".join(f"{run['load_before'][0]:.1f}" for run in runs)
    return (
        f"## {recipe['name']}\n\n{_scores(recipe)}\n"
        f"{alone}- reads: {_reads(recipe)}\n"
        f"- command: `{recipe['command']}`\n"
        f"{_references(recipe)}"
        f"- fit: {recipe['seconds']:.0f} s a seed, load before each: {loads}\n"
        f"- source tree: `{tree_words(recipe)}`; {machine_words(recipe['hardware'])}; "
        f"torch {recipe['hardware']['torch']}\n"
        f"- data: {recipe['repository']}\n"
    )


def _holes_section(recipes: list[dict[str, Any]]) -> str:
    """What emptied cells cost the model, against filling them with zeros."""
    named = {recipe["name"]: recipe for recipe in recipes}
    controls = {(recipe["whole"], tree_words(recipe)): recipe["loss"] for recipe in recipes if recipe.get("fill")}
    parts = []
    for recipe in recipes:
        if recipe.get("fill") or not recipe.get("loss"):
            continue
        control = controls.get((recipe["whole"], tree_words(recipe)), {})
        for table, loss in recipe["loss"].items():
            rivals = {"plain network that reads zeros for what is missing": loss["plain"]}
            if table in control:
                rivals["omnifuse, fitted and asked with black pictures and silent sounds"] = control[table]["omnifuse"]
            words = _loss_words(recipe, named[recipe["whole"]], table)
            parts.append(f"{words}\n\n{_loss_table(loss['omnifuse'], rivals)}")
    return "## What holes cost\n\n" + "\n".join(parts) if parts else ""


def _loss_words(recipe: dict[str, Any], whole: dict[str, Any], table: str) -> str:
    rows, measure = recipe["loss"][table]["rows"], recipe["measure"]
    return (
        f"{whole['name']}, {table}: {recipe['holes']:.0%} of all cells removed at random, in training and test rows "
        f"alike. Loss: {measure} with all cells ({whole['minutes']:g} minutes of training) minus {measure} with holes "
        f"({recipe['minutes']:g} minutes), mean over seeds and, in brackets, each seed. (a) over all {rows['all']} "
        f"rows; (b) over the {rows['left']} in which at least one cell is left: the others nobody can answer beyond "
        "the class shares. Share: omnifuse's loss divided by the line's; aim: below 2/3."
    )


def _loss_table(own: dict[str, list[float]], rivals: dict[str, dict[str, list[float]]]) -> str:
    head = ("who", "loss (a)", "share (a)", "below 2/3", "loss (b)", "share (b)", "below 2/3")
    rows = []
    for name, found in {"omnifuse, told what is missing": own, **rivals}.items():
        row = [name]
        for kind in ("all", "left"):
            lost, ours = (sum(item[kind]) / len(item[kind]) for item in (found, own))
            row.append(f"{lost:.3f} ({' '.join(figure(value) for value in found[kind])})")
            if found is own:
                row += ["", ""]
            else:
                row += [figure(ours / lost if lost > 0 else None), "yes" if ours < LOSS_SHARE * lost else "no"]
        rows.append(row)
    return table_text(head, rows)


def _speed_section(speed: dict[str, Any]) -> str:
    rows = [
        [name, figure(item.get("value"), 4), item.get("unit", ""), item.get("limit", "")]
        for name, item in speed["results"].items()
    ]
    table = table_text(("what", "median", "unit", "aim"), rows)
    tree = speed["tree"][:12] + (" with changes" if speed["dirty"] else "")
    return (
        f"## Speed\n\n{table}\n- command: `python benchmarks/speed.py`\n"
        f"- source tree: `{tree}`; {machine_words(speed['hardware'])}; load {speed['load'][0]:.1f}\n"
    )


INTRODUCTION = """# Benchmarks

Written by `make bench` (`benchmarks/page.py`) from `benchmarks/results/*.json`; do not edit.

Every score is of test tables that only `benchmarks/score.py` reads, and each reading is a line in
`benchmarks/results/test_log.jsonl`. "Plain" is what a careful engineer would write in an afternoon
(`benchmarks/references.py` says in which file). The difference is ours minus plain, over all seeds, with a 95%
bootstrap interval over the test rows, paired; of several references, the one that is best at the metric counts. The
data folder is named by `OMNIFUSE_DATA`; each section says which public repository holds its data.
"""


# Further sections, by the file of results that they show
SECTIONS = {
    "tables": page_tables.section,
    "fusions": page_fusions.section,
    "peers": page_peers.section,
    "race": page_peers.race_section,
    "gpu": page_gpu.section,
    "compress": page_compress.section,
    "serve": page_serve.section,
}


def page(
    recipes: list[dict[str, Any]], speed: dict[str, Any] | None, more: dict[str, dict[str, Any]] | None = None
) -> str:
    """The text of docs/benchmarks.md; `more` holds the results of `SECTIONS` that there are."""
    more = more or {}
    parts = [INTRODUCTION] + [_section(recipe) for recipe in recipes]
    if not recipes:
        parts.append("Nothing has been measured yet.\n")
    parts += [section for section in (_holes_section(recipes),) if section]
    parts += [section(more[name]) for name, section in SECTIONS.items() if name in more]
    return "\n".join(parts + ([_speed_section(speed)] if speed else []))


def write(results: Path, root: Path) -> list[Path]:
    """Write the page, and the tables of READMEs that have the markers.

    Returns:
        The files written.
    """
    recipes, speed_path = read_results(results), results / "speed.json"
    speed = json.loads(speed_path.read_text(encoding="utf-8")) if speed_path.exists() else None
    paths = {name: results / f"{name}.json" for name in SECTIONS}
    more = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
    target = root / "docs" / "benchmarks.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(recipes, speed, more), encoding="utf-8")
    written = [target]
    for name in HEADS:
        path = root / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if MARKED.search(text):
            table = short_table(recipes, name)
            path.write_text(
                MARKED.sub(lambda found, table=table: found[1] + table + found[2], text, count=1), encoding="utf-8"
            )
            written.append(path)
    return written


def main() -> int:
    for path in write(RESULTS, ROOT):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
