"""Pictures and tones that go together: four colours, four pitches, all else at random."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = ((220, 60, 50), (60, 190, 70), (60, 80, 220), (220, 210, 60))
PITCHES_HZ = (300.0, 700.0, 1500.0, 3000.0)
RATE_HZ = 8000


def write_colour_tones(folder: Path, num_rows: int, *, seed: int = 0, name: str = "pairs") -> Path:
    """A table with `key`, `photo`, `tone` and the class as `label`; media lie beside it."""
    import soundfile
    from PIL import Image

    draw = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(num_rows):
        kind = number % 4
        pixels = np.asarray(COLOURS[kind]) * draw.uniform(0.6, 1.0) + draw.normal(0, 25, (16, 16, 3))
        time = np.arange(int(RATE_HZ * draw.uniform(0.2, 0.3))) / RATE_HZ
        pitch = PITCHES_HZ[kind] * draw.uniform(0.9, 1.1)
        sound = draw.uniform(0.2, 0.6) * np.sin(2 * np.pi * pitch * time) + draw.normal(0, 0.05, len(time))
        row = {"key": f"k{number:04d}", "photo": f"{name}{number}.png", "tone": f"{name}{number}.wav"}
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / row["photo"])
        soundfile.write(folder / row["tone"], np.clip(sound, -0.99, 0.99), RATE_HZ, subtype="PCM_16")
        rows.append({**row, "label": f"class {kind}"})
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return path
