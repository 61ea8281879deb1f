"""Blurred digit and drowned spoken digit -> digit: neither is enough alone, so that fusion has work to do.

After the AV-MNIST of Vielzeuf et al. 2018 (arXiv:1808.07275): pictures keep 25% of their energy, sounds get an
environmental sound at -12 to -6 dB. `avmnist_hard_holes` also empties half of all cells at random, in training and
test rows alike, so that a quarter of the rows has neither picture nor sound. `avmnist_hard_filled` is the control: the
same cells hold a black picture or a silent sound, which is what filling with zeros comes to.

Command:   python -m recipes avmnist_hard      (or _image, _audio, _holes, _filled after it)
Data:      made by make_avmnist_hard.py from the avmnist pack and from github:karolpiczak/ESC-50 (fold 4).
Time:      6 minutes at most, 5 for pictures alone, 3 for sounds alone.
           Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from dataclasses import replace

from recipes import Recipe

BOTH = Recipe(
    name="avmnist_hard",
    pack="avmnist_hard",
    label="label",
    fields=("image", "audio"),
    repository="the avmnist pack and github:karolpiczak/ESC-50",
    aims=(0.84,),
    minutes=6.0,
)
IMAGE = replace(BOTH, name="avmnist_hard_image", only=("image",), minutes=5.0, aims=(0.66,))
AUDIO = replace(BOTH, name="avmnist_hard_audio", only=("audio",), minutes=3.0, aims=(0.57,))
HOLES = replace(BOTH, name="avmnist_hard_holes", holes=0.5, aims=())
# A control, not a contender: one seed
FILLED = replace(HOLES, name="avmnist_hard_filled", fill=True, seeds=1)
RECIPES = (BOTH, IMAGE, AUDIO, HOLES, FILLED)
