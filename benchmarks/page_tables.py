"""The section of docs/benchmarks.md on tables alone, from results/tables.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import difference, machine_words, mean_score, table_text, tree_words

INTRODUCTION = """## Tables alone

Written by `python benchmarks/tables.py`. The encoders of a table without shallow heads, beside the better of two
settings of scikit-learn's HistGradientBoosting, chosen on training rows; a fifth of the rows is held out, anew for each
seed. In brackets: ours minus boosting, with a 95% bootstrap interval over the rows, paired. Sets that ship with
scikit-learn or are generated.
"""


def section(found: dict[str, Any]) -> str:
    """The section; `found` is what tables.json holds."""
    data, reference = found["data"], found["reference"]
    names = [name for name in next(iter(data.values()))["summary"] if name != reference]
    head = ("data", "rows", "columns", "measure", *names, reference, "below it, beyond noise")
    rows = []
    for name, entry in data.items():
        summed = entry["summary"]
        below = [who for who in names if summed[who]["high"] < 0]
        cells = [f"{mean_score(summed[who])} ({difference(summed[who])})" for who in names]
        rows.append(
            [
                name, str(entry["rows"]), str(entry["columns"]), entry["measure"],
                *cells, mean_score(summed[reference]), ", ".join(below) or "none",
            ]
        )  # fmt: skip
    runs = [run for entry in data.values() for run in entry["runs"]]
    lines = [f"- seeds: {' / '.join(str(n) for n in sorted({len(entry['runs']) for entry in data.values()}))}"]
    lines += [f"- source tree: `{tree}`" for tree in sorted({tree_words(run) for run in runs})]
    lines += [f"- machine: {words}" for words in sorted({machine_words(item["hardware"]) for item in data.values()})]
    return "\n".join([INTRODUCTION, table_text(head, rows), "\n".join(lines) + "\n"])
