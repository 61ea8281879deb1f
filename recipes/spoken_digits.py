"""Three to six spoken digits -> what was said: 300 training and 75 test sounds of five speakers, other recordings.

Command:   python -m recipes spoken_digits
Data:      github:Jakobovski/free-spoken-digit-dataset (CC BY-SA 4.0), single digits put together.
Time:      6 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="spoken_digits",
        pack="spoken_digit_sequences",
        label="transcript",
        fields=("audio",),
        repository="github:Jakobovski/free-spoken-digit-dataset",
        task="transcription",
        group="speaker",
        minutes=6.0,
        measure="word_error_rate",
        aims=(0.03,),
    ),
)
