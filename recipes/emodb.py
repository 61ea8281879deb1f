"""Speech -> emotion of speakers never heard before: 278 training rows of 6 speakers, 130 test rows of 2 others.

Command:   python -m recipes emodb
Data:      EmoDB (Burkhardt et al. 2005) as in github:sylaschacko/voice-emotion-analysis; the text is neutral on purpose
           and is not read.
Time:      2 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="emodb",
        pack="emodb_speech_emotion",
        label="emotion",
        fields=("audio",),
        repository="github:sylaschacko/voice-emotion-analysis",
        group="speaker",
        minutes=2.0,
        measure="balanced_accuracy",
        aims=(0.72,),
    ),
)
