"""The section of docs/benchmarks.md on what serving costs beside the bare graphs, from results/serve.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import figure, machine_words, table_text, tree_words

INTRODUCTION = """## Serving

Written by `python benchmarks/serve.py RUN TABLE`. The bare graphs are the same ONNX graphs with the same arrays, run in
ONNX Runtime and nothing else. Percentiles are of requests that come at the times of a Poisson process and do not wait
for answers, counted from the moment at which each was due.
"""


def section(found: dict[str, Any]) -> str:
    """The section; `found` is what serve.json holds."""
    rows = [
        [name, figure(item["value"], 3), item["unit"], item.get("limit", "")] for name, item in found["results"].items()
    ]
    lines = [
        f"- source tree: `{tree_words(found)}`",
        f"- machine: {machine_words(found['hardware'])}; load before {found['load'][0]:.1f}",
    ]
    return "\n".join([INTRODUCTION, table_text(("what", "median", "unit", "aim"), rows), "\n".join(lines) + "\n"])
