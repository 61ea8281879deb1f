"""Picture -> fire or none: 607 training pictures, 194 test pictures; colour alone nearly solves it.

The second test table holds the test pictures and 90 frames of a video that burns from beginning to end, a minute of a
house, which no picture is of: models that look at pictures are asked about a film.

Command:   python -m recipes fire
Data:      github:mrlinux1/SmokeSensor (pictures, licence unclear), github:steffensbola/furg-fire-dataset (video, CC0).
Time:      3 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe
from recipes.frames import FRAMES_TABLE

RECIPES = (
    Recipe(
        name="fire",
        pack="fire_images",
        label="label",
        fields=("image",),
        repository="github:mrlinux1/SmokeSensor, github:steffensbola/furg-fire-dataset",
        tests=("test.csv", FRAMES_TABLE),
        minutes=3.0,
        measure="balanced_accuracy",
        aims=(0.98, 0.98),
        clips=(("video/house6.mp4", "1"),),
    ),
)
