"""The section of docs/benchmarks.md on training on a graphics card, from results/gpu.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import figure, machine_words, table_text, tree_words

INTRODUCTION = """## On a GPU

Written by `python benchmarks/gpu.py`. The first line is the share of the rate of bare matrix products, of the model's
own shapes and in bf16, that a whole training reaches: an augmenting loader, logging and checkpoints (at most a fiftieth
of the time) included. The network is of the size of ViT-B (width 768, 12 heads, 12 blocks, 196 tokens a picture).
"""


def section(found: dict[str, Any]) -> str:
    """The section; `found` is what gpu.json holds."""
    rows = [
        [name, figure(item["value"], 3), item["unit"], item.get("limit", ""), str(item.get("batch", ""))]
        for name, item in found["results"].items()
    ]
    machine = found["hardware"]
    memory = f", {machine['accelerator_gib']} GiB" if machine.get("accelerator_gib") else ""
    lines = [
        f"- source tree: `{tree_words(found)}`",
        f"- machine: {machine_words(machine)}{memory}; torch {machine['torch']}",
    ]
    return "\n".join(
        [INTRODUCTION, table_text(("what", "median", "unit", "aim", "rows a step"), rows), "\n".join(lines) + "\n"]
    )
