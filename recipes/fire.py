"""Picture -> fire or none: 607 training and 194 test rows; colour alone nearly solves it.

Command:   python -m recipes fire
Data:      github:mrlinux1/SmokeSensor (pictures, licence unclear).
Time:      3 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="fire",
        pack="fire_images",
        label="label",
        fields=("image",),
        repository="github:mrlinux1/SmokeSensor",
        minutes=3.0,
        measure="balanced_accuracy",
        aims=(0.98,),
    ),
)
