"""The section of docs/benchmarks.md on graphs made smaller, from results/compress.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import machine_words, table_text, tree_words

INTRODUCTION = """## Smaller graphs

The graph of the library's text encoder at the size of a base transformer, made smaller in each way and timed in turns
with itself as exported. Its weights are drawn, so the last column says how far its tokens move, and nothing of answers;
`omnifuse compress` measures those on a model's own rows. The aim for int8 is 1.8 times as fast.
"""


def section(found: dict[str, Any]) -> str:
    """The section; `found` is what compress.json holds."""
    counts = list(next(iter(found["forms"].values()))["ms"])
    head = ("graph", "size", *(f"{count} rows" for count in counts), "tokens off by")
    rows = [
        [
            name,
            f"{item['bytes'] / 1e6:.1f} MB",
            *(f"{item['ms'][count]:.1f} ms ({item['times_as_fast'][count]:.2f} x)" for count in counts),
            f"{item['relative_error']:.1%}",
        ]
        for name, item in found["forms"].items()
    ]
    return (
        f"{INTRODUCTION}\n{table_text(head, rows)}\n- command: `python benchmarks/compress.py`; width {found['dim']}, "
        f"{found['depth']} blocks, {found['tokens']} tokens\n- source tree: `{tree_words(found)}`; "
        f"{machine_words(found['hardware'])}; load {found['load'][0]:.1f}\n"
    )
