"""A generated world with known truth: guarded rooms seen by a camera, a microphone, sensors and a porter's note.

No single column tells what goes on. A figure in the picture is a visitor or a burglar, which only the porter's note
and the hour can tell; an orange glow is a lamp or a fire, which only the sound and the temperature can tell. A share
of all cells is missing and every column is noisy. One seed gives the same bytes.
"""

from __future__ import annotations

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("burglary", "fire", "normal", "visitor")
COLUMNS = ("id", "picture", "sound", "note", "temperature", "co2", "room", "time", "event")
SIZE = 40
RATE_HZ = 8000
DURATION_S = 1.0

_EXPECTED = (
    "guest announced for today",
    "the cleaner has a key and will come in",
    "meeting booked, people will be in",
    "technician expected this shift",
    "porter let somebody in earlier",
)
_UNEXPECTED = (
    "nobody has booked the room",
    "door locked and keys returned",
    "no visits on the list",
    "room closed until next week",
    "everyone signed out",
)
_NEUTRAL = ("window cleaned", "new bulb in the lamp", "heating checked", "carpet replaced", "nothing to report")
_ROOMS = ("office", "store", "lobby", "archive")


@dataclass(frozen=True)
class Room:
    """The hidden truth of one row."""

    figure: bool
    glow: bool
    expected: bool
    burning: bool
    hour: int

    @property
    def event(self) -> str:
        """The label that follows from the truth."""
        if self.burning and self.glow:
            return "fire"
        if self.figure:
            return "visitor" if self.expected else "burglary"
        return "normal"


def _draw_room(draw: np.random.Generator) -> Room:
    kind = draw.integers(4)
    expected = bool(draw.random() < 0.5)
    figure = kind in (0, 1)
    glow = kind == 2 or bool(draw.random() < 0.25)
    burning = bool(kind == 2 and draw.random() < 0.6)
    hour = int(draw.integers(7, 20) if expected == (draw.random() < 0.75) else (draw.integers(20, 31) % 24))
    return Room(figure, glow, expected, burning, hour)


def draw_picture(room: Room, draw: np.random.Generator) -> np.ndarray:
    """The camera's view, uint8 (40, 40, 3): wall, floor, furniture, perhaps a figure and a glow, grain."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    light = draw.uniform(0.35, 0.8)
    pixels = np.full((SIZE, SIZE, 3), light) * draw.uniform(0.8, 1.0, 3)
    pixels[rows > draw.integers(26, 32)] *= 0.7
    top, left = draw.integers(16, 26), draw.integers(0, 28)
    pixels[top : top + 8, left : left + 10] *= draw.uniform(0.4, 1.3, 3)
    if room.figure:
        x, y, tall = draw.uniform(8, 32), draw.uniform(16, 22), draw.uniform(0.8, 1.2)
        body = ((columns - x) / (3.5 * tall)) ** 2 + ((rows - y - 7) / (8 * tall)) ** 2 < 1
        head = (columns - x) ** 2 + (rows - y + 4) ** 2 < (3.2 * tall) ** 2
        pixels[body | head] = draw.uniform(0.05, 0.3, 3)
    if room.glow:
        x, y = draw.uniform(5, 35), draw.uniform(5, 30)
        halo = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * draw.uniform(3, 5) ** 2))
        pixels += halo[..., None] * np.array([0.9, 0.45, 0.05])
    pixels += draw.normal(0, 0.09, pixels.shape)
    return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def draw_sound(room: Room, draw: np.random.Generator) -> np.ndarray:
    """One second of sound, float64 (8000,): hum and hiss, steps where a figure walks, crackle where it burns."""
    count = int(RATE_HZ * DURATION_S)
    time = np.arange(count) / RATE_HZ
    sound = 0.02 * np.sin(2 * np.pi * draw.uniform(48, 52) * time) + draw.normal(0, 0.03, count)
    if room.figure and draw.random() < 0.7:
        for start in np.arange(draw.uniform(0, 0.3), DURATION_S, draw.uniform(0.28, 0.4)):
            sound += 0.3 * np.sin(2 * np.pi * 110 * time) * np.exp(-(((time - start) / 0.03) ** 2))
    if room.burning and draw.random() < 0.8:
        for start in draw.uniform(0, DURATION_S, draw.integers(12, 25)):
            sound += draw.uniform(0.2, 0.5) * draw.normal(0, 1, count) * np.exp(-np.abs(time - start) / 0.004)
    return np.clip(sound, -0.99, 0.99)


def _cells(room: Room, draw: np.random.Generator) -> dict[str, Any]:
    """Note, sensors, category and time of one row."""
    believable = draw.random() < 0.92
    note = str(draw.choice(_EXPECTED if room.expected == believable else _UNEXPECTED))
    if draw.random() < 0.5:
        note = f"{draw.choice(_NEUTRAL)}; {note}"
    day = datetime.datetime(2026, 3, 2) + datetime.timedelta(days=int(draw.integers(0, 60)))
    moment = day.replace(hour=room.hour, minute=int(draw.integers(60)))
    return {
        "note": note,
        "temperature": f"{draw.normal(28 if room.burning else 21, 3):.1f}",
        "co2": f"{draw.normal(620 if room.figure else 520, 90):.0f}",
        "room": str(draw.choice(_ROOMS)),
        "time": moment.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _write_rows(folder: Path, name: str, num_rows: int, holes: float, draw: np.random.Generator) -> None:
    import soundfile
    from PIL import Image

    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        table.writeheader()
        for number in range(num_rows):
            room = _draw_room(draw)
            row = {"id": f"{name}-{number:04d}", **_cells(room, draw), "event": room.event}
            row["picture"], row["sound"] = f"pictures/{row['id']}.png", f"sounds/{row['id']}.wav"
            Image.fromarray(draw_picture(room, draw)).save(folder / row["picture"])
            soundfile.write(folder / row["sound"], draw_sound(room, draw), RATE_HZ, subtype="PCM_16")
            for column in COLUMNS[1:-1]:
                if draw.random() < holes:
                    row[column] = ""
            table.writerow(row)


def generate_rooms(
    folder: str | Path, *, num_train: int = 600, num_test: int = 300, holes: float = 0.12, seed: int = 0
) -> tuple[Path, Path]:
    """Write the generated world as two tables with their pictures and sounds.

    Args:
        folder: Made where absent; gets train.csv, test.csv, pictures/ and sounds/.
        num_train: Rows of train.csv.
        num_test: Rows of test.csv, drawn independently.
        holes: Share of cells that are left empty, 0 to 1.
        seed: One seed gives the same bytes.

    Returns:
        The paths of train.csv and test.csv.
    """
    out = Path(folder)
    for part in ("pictures", "sounds"):
        (out / part).mkdir(parents=True, exist_ok=True)
    for offset, (name, num_rows) in enumerate((("train", num_train), ("test", num_test))):
        _write_rows(out, name, num_rows, holes, np.random.default_rng([seed, offset]))
    return out / "train.csv", out / "test.csv"
