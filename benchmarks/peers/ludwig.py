"""Ludwig on one job, from scratch; run by the Python of its own environment, without omnifuse.

    python ludwig.py job.json

Each field gets the encoder that is Ludwig's default for its kind (stacked CNN for pictures, parallel CNN for words and
for the mel spectrum of sounds, embeddings for categories and dates, z-scores for numbers). Its default combiner joins
them with two layers, from the range that its AutoML searches: without layers, its default, numbers would get a linear
model. The trainer is its default but for what that cannot know of small data and a time limit: epochs until the minutes
are over, patience 15, the epoch of least loss (not of most accuracy, which few rows make coarse) on a tenth of the rows
(whole groups), small batches for small tables, sounds padded to the longest instead of 7.5 s, and empty numbers filled
with the mean.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from common import (
    MISSING,
    black_picture,
    decode_picture,
    held_out,
    of_kind,
    read_job,
    silent_sound,
    stand_in_for_torchaudio,
    torchvision_operators,
    write_answers,
)

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
compiled = torchvision_operators()
stand_in_for_torchaudio()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import soundfile  # noqa: E402
import torchvision.io  # noqa: E402

if not compiled:
    torchvision.io.decode_image = decode_picture

from ludwig.api import LudwigModel  # noqa: E402
from ludwig.callbacks import Callback  # noqa: E402

LARGE_TABLE, PATIENCE, LONGEST_S = 1000, 15, 7.5
SPLIT = "held_out_rows"
KINDS = {"number": {"missing_value_strategy": "fill_with_mean"}}


class Clock(Callback):
    """Ends training at a moment, `time.monotonic()` seconds."""

    def __init__(self, end: float) -> None:
        self.end = end

    def should_early_stop(self, trainer: Any, progress_tracker: Any, is_coordinator: bool) -> bool:
        return time.monotonic() > self.end


def read_table(path: str, job: dict[str, Any]) -> pd.DataFrame:
    """A table with typed cells; an empty picture is a black one and an empty sound a silent one."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in of_kind(job, "number"):
        frame[name] = pd.to_numeric(frame[name].replace("", None), errors="coerce")
    for name in of_kind(job, "category", "text"):
        frame[name] = frame[name].replace("", MISSING)
    for name in of_kind(job, "image"):
        frame[name] = frame[name].replace("", black_picture(job, 32))
    for name in of_kind(job, "audio"):
        frame[name] = frame[name].replace("", silent_sound(job))
    return frame


def seconds_of(paths: list[str]) -> float:
    """The longest of the sounds in steps of half a second, so that every usual rate gives whole samples."""
    found = [soundfile.info(path) for path in paths]
    longest = max(item.frames / item.samplerate for item in found)
    step = 0.5 if all(item.samplerate % 2 == 0 for item in found) else 1.0
    return float(min(step * np.ceil(longest / step), step * (LONGEST_S // step)))


def configuration(job: dict[str, Any], frame: pd.DataFrame) -> dict[str, Any]:
    """What Ludwig is told."""
    fields = []
    for name, kind in job["fields"].items():
        field: dict[str, Any] = {"name": name, "type": kind}
        if kind in KINDS:
            field["preprocessing"] = dict(KINDS[kind])
        if kind == "audio":
            field["preprocessing"] = {"audio_file_length_limit_in_s": seconds_of(frame[name].tolist())}
        fields.append(field)
    return {
        "input_features": fields,
        "output_features": [{"name": job["label"], "type": "category"}],
        "combiner": {"type": "concat", "num_fc_layers": 2, "output_size": 128, "dropout": 0.05},
        "preprocessing": {"split": {"type": "fixed", "column": SPLIT}},
        "trainer": {
            "epochs": 10_000,
            "early_stop": PATIENCE,
            "validation_field": job["label"],
            "validation_metric": "loss",
            "batch_size": 128 if len(frame) >= LARGE_TABLE else 32,
        },
    }


def main() -> int:
    began = time.monotonic()
    job = read_job()
    frame = read_table(job["train"], job)
    out = held_out(frame[job["group"]].tolist() if job["group"] else None, len(frame), job["seed"])
    frame = frame[[*job["fields"], job["label"]]].assign(**{SPLIT: out.astype(int)})
    home = Path(job["out"]) / "model"
    shutil.rmtree(home, ignore_errors=True)
    model = LudwigModel(
        configuration(job, frame), backend="local", callbacks=[Clock(began + 60 * job["minutes"])], logging_level=30
    )
    model.train(
        dataset=frame,
        random_seed=job["seed"],
        output_directory=str(home),
        skip_save_processed_input=True,
        skip_save_progress=True,
        skip_save_log=True,
    )
    classes = sorted(frame[job["label"]].unique())
    for test, path in job["tests"].items():
        found, _ = model.predict(dataset=read_table(path, job), skip_save_predictions=True)
        columns = [f"{job['label']}_probabilities_{name}" for name in classes]
        probabilities = found[columns].to_numpy(np.float64)
        write_answers(job, test, probabilities / probabilities.sum(axis=1, keepdims=True), classes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
