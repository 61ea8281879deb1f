"""The section of docs/benchmarks.md that holds us beside other systems, from results/peers.json and race.json."""

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
RACE_INTRODUCTION = """### Time to their score

Written by `python benchmarks/peers/race.py`: wherever a peer's mean score on the first test table beats that of the
classes' shares of the training rows (majority), `omnifuse` gets a fifth, a third, a half and all of the peer's mean
seconds in turn, until its score is at least the peer's. Both are whole processes on the same machine, from their start
to the written answers to the test rows. What omnifuse takes beside its training is timed before, without scoring, and
the training gets what it leaves of the share; a try counts where its process ended within the share (and 2% more).
"""
RACE_HEAD = (
    "recipe",
    "peer",
    "measure",
    "their score",
    "majority",
    "their seconds",
    "our seconds",
    "ours / theirs",
    "at most 1/3",
    "at most 1/5",
)
# A process may end so much after its share
RACE_TOLERANCE = 0.02


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
    parts.append(_lines(found))
    return "\n".join(parts)


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


def race_section(found: dict[str, Any]) -> str:
    """The section below it; `found` is what race.json holds."""
    raced = [
        (recipe, entry, name, peer)
        for recipe, entry in found["measured"].items()
        for name, peer in entry["peers"].items()
    ]
    rows = [_race_row(*item) for item in raced if item[3]["beats_majority"]]
    lines = [line for item in raced if (line := _race_line(*item))]
    runs = [peer for *_, peer in raced if peer["beats_majority"]]
    if runs:
        trees = ", ".join(f"`{words}`" for words in sorted({tree_words(run) for run in runs}))
        lines.append(f"- source tree of omnifuse: {trees}; {_counts(runs)} run(s) of each share")
    loads = [run["load_before"][0] for peer in runs for item in peer["tries"] for run in item.get("runs", ())]
    machines = sorted({machine_words(entry["hardware"]) for entry in found["measured"].values()})
    load = f"; load before each of our runs: {min(loads):.1f} to {max(loads):.1f}" if loads else ""
    lines.append(f"- machine: {'; '.join(machines)}{load}")
    parts = [RACE_INTRODUCTION, *([table_text(RACE_HEAD, rows)] if rows else [])]
    return "\n".join([*parts, "\n".join(lines) + "\n"])


def _counts(runs: list[dict[str, Any]]) -> str:
    return " / ".join(str(count) for count in sorted({run["seeds"] for run in runs}))


def _race_row(recipe: str, entry: dict[str, Any], name: str, peer: dict[str, Any]) -> list[str]:
    reached = peer["reached"]
    ratio = reached["ratio"] if reached else None
    within = ["yes" if ratio and ratio <= bound * (1 + RACE_TOLERANCE) else "no" for bound in (1 / 3, 1 / 5)]
    return [
        recipe,
        name,
        entry["measure"],
        figure(peer["theirs"]["score"]),
        figure(entry["majority"]["scores"][entry["measure"]]),
        figure(peer["theirs"]["seconds"], 0),
        figure(reached["seconds"], 0) if reached else "not reached",
        figure(ratio, 2),
        *within,
    ]


def _race_line(recipe: str, entry: dict[str, Any], name: str, peer: dict[str, Any]) -> str:
    """What the table does not tell: a peer that is no better than the majority, or what became of each share."""
    if not peer["beats_majority"]:
        base = figure(entry["majority"]["scores"][entry["measure"]])
        return f"- {name} on {recipe} is not better than the majority: {figure(peer['theirs']['score'])} and {base}"
    if "reason" in peer:
        return f"- no race against {name} on {recipe}: {' '.join(peer['reason'].split())}"
    if not peer["tries"] or (len(peer["tries"]) == 1 and peer["reached"]):
        return ""
    return f"- {name} on {recipe}: " + "; ".join(_try_words(item) for item in peer["tries"])


def _try_words(item: dict[str, Any]) -> str:
    share = figure(item["share"], 2)
    if "reason" in item:
        return f"{share} failed ({' '.join(item['reason'].split())})"
    if "refused" in item:
        return f"{share} {item['refused']}"
    return f"{share} {figure(item['score'])} in {figure(item['seconds'], 0)} s"
