"""The section of docs/benchmarks.md that compares fusions, from results/fusions.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import figure, machine_words, table_text, tree_words

INTRODUCTION = """## Every fusion on the same footing

Written by `python benchmarks/fusions.py`. One `omnifuse fit --fusion all` a subject: each fusion trains on the same
training rows, with the same seeds and minutes, and is scored on rows that its networks had not learnt from; no test
table is read. In brackets: p of the paired difference from the default after Holm's correction, where it is below 0.05.
The best of so many is a little favoured by chance.
"""


def section(found: dict[str, Any]) -> str:
    """The section; `found` is what fusions.json holds."""
    measured = found["measured"]
    names = list(dict.fromkeys(row["name"] for entry in measured.values() for row in entry["rows"]))
    head = ("subject", "metric", *names, "best minus default", "within a point")
    rows = []
    for subject, entry in measured.items():
        by_name = {row["name"]: row for row in entry["rows"]}
        cells = [_cell(by_name.get(name)) for name in names]
        rows.append(
            [
                subject,
                entry["metric"],
                *cells,
                f"{entry['gap']:+.3f} ({entry['best']})",
                "yes" if entry["within"] else "no",
            ]
        )
    return "\n".join([INTRODUCTION, table_text(head, rows), _lines(measured)])


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    words = figure(row["mean"]) + (f" ± {row['sd']:.3f}" if row["sd"] is not None else "")
    return words + (f" [{row['p']:.2g}]" if row["p"] is not None and row["p"] < 0.05 else "")


def _lines(measured: dict[str, Any]) -> str:
    lines = [f"- {entry['command']}" for entry in measured.values()]
    lines += [f"- source tree: `{tree}`" for tree in sorted({tree_words(entry) for entry in measured.values()})]
    lines += [
        f"- machine: {words}" for words in sorted({machine_words(item["hardware"]) for item in measured.values()})
    ]
    return "\n".join(lines) + "\n"
