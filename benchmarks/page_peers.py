"""The section of docs/benchmarks.md that holds us beside other systems, from results/peers.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import difference, figure, machine_words, mean_score, table_text, tree_words

OURS = "omnifuse"
INTRODUCTION = """## Beside other systems

Written by `python benchmarks/peers/run.py`. Each system learns from the same rows and fields, from scratch, with the
same minutes of training, in an environment of its own with its packages pinned (`benchmarks/peers/`). Seconds are those
of whole processes, from their start to the written answers, imports included; our two commands, `omnifuse fit` and
`omnifuse predict`, are added up. Every round runs all systems one after the other on the same machine. Difference: ours
minus theirs, over all seeds, with a 95% bootstrap interval over the test rows, paired.
"""
HEAD = (
    "recipe",
    "test table",
    "system",
    "reads",
    "score",
    "ours minus theirs [95%]",
    "seconds",
    "our seconds / theirs",
)


def scored(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The runs of a system on a recipe that gave answers."""
    return [run for run in entry["runs"].get(name, ()) if "scores" in run]


def section(found: dict[str, Any]) -> str:
    """The section; `found` is what peers.json holds."""
    measured = found["measured"]
    rows = [row for recipe, entry in measured.items() for row in _rows(recipe, entry, tuple(found["systems"]))]
    parts = [INTRODUCTION]
    if rows:
        parts.append(table_text(HEAD, rows))
    return "\n".join([*parts, _lines(found)])


def _rows(recipe: str, entry: dict[str, Any], systems: tuple[str, ...]) -> list[list[str]]:
    rows = []
    for table in entry["tests"]:
        for name in sorted(systems, key=lambda name: name != OURS):
            item = entry["summary"].get(name, {}).get(table)
            if item is None:
                continue
            left_out = scored(entry, name)[0]["left_out"]
            versus = name != OURS and item.get("difference") is not None
            rows.append(
                [
                    recipe,
                    table,
                    name,
                    f"all but {', '.join(left_out)}" if left_out else "all",
                    f"{entry['measure']} {mean_score(item)}",
                    difference(item) if versus else "",
                    figure(item["seconds"], 0),
                    figure(item["ratio"], 2) if versus else "",
                ]
            )
    return rows


def _lines(found: dict[str, Any]) -> str:
    lines = [_system_line(name, system, found["measured"]) for name, system in found["systems"].items()]
    lines += _reasons(found["measured"])
    runs = [run for entry in found["measured"].values() for run in scored(entry, OURS)]
    if runs:
        trees = ", ".join(f"`{words}`" for words in sorted({tree_words(run) for run in runs}))
        lines.append(f"- source tree of omnifuse: {trees}")
    machines = sorted({machine_words(entry["hardware"]) for entry in found["measured"].values()})
    if machines:
        lines.append(f"- machine: {'; '.join(machines)}")
    return "\n".join(lines) + "\n"


def _system_line(name: str, system: dict[str, Any], measured: dict[str, Any]) -> str:
    counts = sorted({len(runs) for entry in measured.values() if (runs := scored(entry, name))})
    seeds = f"; {' / '.join(str(count) for count in counts)} seed(s)" if counts else ""
    packages = f"; {', '.join(system['packages'])}" if system["packages"] else ""
    needed = f"; needed here: {system['needed']}" if system["needed"] else ""
    return f"- {name}: {system['words']}{packages}{seeds}{needed}"


def _reasons(measured: dict[str, Any]) -> list[str]:
    """One line for each system and reason why it gave no answers, with the recipes that it concerns."""
    found: dict[tuple[str, str], list[str]] = {}
    for recipe, entry in measured.items():
        for name, runs in entry["runs"].items():
            for run in runs:
                if "reason" in run:
                    recipes = found.setdefault((name, " ".join(run["reason"].split())), [])
                    recipes += [recipe] if recipe not in recipes else []
    return [f"- {name} did not run on {', '.join(recipes)}: {reason}" for (name, reason), recipes in found.items()]
