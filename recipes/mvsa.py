"""Picture and text of a tweet -> positive, neutral or negative: 1,995 training and 601 test rows.

The classes are uneven (neutral is a tenth), so that accuracy and macro F1 pull apart: a model that never answers
"neutral" gains the one and loses the other. Both are published of one model.

Command:   python -m recipes mvsa
Data:      MVSA-Single (Niu et al. 2016; for research, not passed on) as in github:Zou00/MSU, a subsample.
Time:      6 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Further, Recipe

RECIPES = (
    Recipe(
        name="mvsa",
        pack="mvsa_tweets",
        label="label",
        fields=("image", "text"),
        repository="github:Zou00/MSU",
        minutes=6.0,
        also=(Further("f1_macro", (0.52,)),),
        aims=(0.67,),
        references=("mvsa_weighted",),
    ),
)
