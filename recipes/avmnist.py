"""Handwritten digit and spoken digit -> digit: 3,000 training and 500 test rows, ten balanced classes.

Command:   python -m recipes avmnist           (avmnist_image, avmnist_audio: one field alone)
Data:      github:Jakobovski/free-spoken-digit-dataset (CC BY-SA 4.0) and github:rasbt/mnist-pngs, paired by digit;
           the recordings 0 to 4 of each speaker are the test rows, as in the repository.
Time:      2 minutes at most, 6 for the picture alone, 1.5 for the sound. Hardware, score, deviation over 3 seeds:
           see docs/benchmarks.md.
"""

from __future__ import annotations

from dataclasses import replace

from recipes import Recipe

BOTH = Recipe(
    name="avmnist",
    pack="avmnist",
    label="label",
    fields=("image", "audio"),
    repository="github:Jakobovski/free-spoken-digit-dataset and github:rasbt/mnist-pngs",
    minutes=2.0,
    aims=(0.998,),
)
IMAGE = replace(BOTH, name="avmnist_image", only=("image",), minutes=6.0, aims=(0.986,))
AUDIO = replace(BOTH, name="avmnist_audio", only=("audio",), minutes=1.5, aims=(0.995,))
RECIPES = (BOTH, IMAGE, AUDIO)
