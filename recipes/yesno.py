"""Eight times yes or no in Hebrew -> what was said: 31 training and 29 test recordings of one speaker.

Command:   python -m recipes yesno
Data:      OpenSLR 1, as in github:keighrim/kaldi-yesno-tutorial.
Time:      4 minutes at most. Hardware, score, deviation over 3 seeds: see docs/benchmarks.md.
"""

from __future__ import annotations

from recipes import Recipe

RECIPES = (
    Recipe(
        name="yesno",
        pack="yesno_speech",
        label="transcript",
        fields=("audio",),
        repository="github:keighrim/kaldi-yesno-tutorial",
        task="transcription",
        minutes=4.0,
        settings=(
            ("dim", "48"),
            ("encoder_depth", "1"),
            ("decoder_depth", "1"),
            ("batch_size", "8"),
            ("learning_rate", "4e-3"),
            ("dropout", "0.05"),
            ("shallow", "none"),
        ),
        measure="word_error_rate",
        aims=(0.01,),
    ),
)
