"""Utterance and speaker, with what was said before -> sentiment: 9,989 training and 1,109 test utterances.

Signs carry much of it: without exclamation and question marks a linear model of words falls from 0.62 to 0.53.

Command:   python -m recipes meld
Data:      github:declare-lab/MELD (Poria et al. 2019; dialogues of a television series, for research, not passed on):
           its training and development files, texts alone.
Time:      6 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="meld",
        pack="meld_text",
        label="Sentiment",
        fields=("Utterance", "Speaker"),
        repository="github:declare-lab/MELD",
        group="Dialogue_ID",
        time="Utterance_ID",
        minutes=6.0,
        measure="f1_weighted",
        aims=(0.635,),
    ),
)
