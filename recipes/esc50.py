"""Five seconds of sound -> one of 50 events: 199 training and 101 test rows, whole recordings apart.

Command:   python -m recipes esc50
Data:      github:karolpiczak/ESC-50, fold 4 (CC BY-NC), about 4 training clips an event.
Time:      4 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="esc50",
        pack="esc50_fold4_sounds",
        label="category",
        fields=("audio",),
        repository="github:karolpiczak/ESC-50",
        group="freesound_clip",
        minutes=4.0,
        aims=(0.36,),
    ),
)
