"""Picture of three boxes and a statement about it -> true or false: 989 training and 990 test rows.

Reasoning over counts and places: networks that learn from a thousand rows alone hardly pass the majority (0.562).

Command:   python -m recipes nlvr
Data:      github:lil-lab/nlvr (CC BY 4.0), development rows to learn from, public test rows to score.
Time:      4 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="nlvr",
        pack="nlvr_statements",
        label="label",
        fields=("image", "sentence"),
        repository="github:lil-lab/nlvr",
        minutes=4.0,
        aims=(0.563,),
    ),
)
