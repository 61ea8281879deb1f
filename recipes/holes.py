"""Tables with cells emptied at random, the same ones each time, and the media that may stand in their place."""

from __future__ import annotations

import csv
import wave
import zlib
from pathlib import Path

import numpy as np

HOLES_SEED = 7
# Of the size, the rate and the usual length of the digits
BLANKS = {"image": "black.png", "audio": "silence.wav"}
PICTURE_SIZE = 28
RATE_HZ, SILENCE_S = 8000, 0.45


def emptied_cells(name: str, num_rows: int, num_fields: int, share: float) -> np.ndarray:
    """(R, fields) bool: which cells of the table of this name are emptied."""
    count = num_rows * num_fields
    draw = np.random.default_rng([HOLES_SEED, zlib.crc32(name.encode())])
    emptied = np.zeros(count, bool)
    emptied[draw.permutation(count)[: round(share * count)]] = True
    return emptied.reshape(num_rows, num_fields)


def write_with_holes(source: Path, out: Path, fields: tuple[str, ...], share: float, *, fill: bool) -> None:
    """Copy a table without some of its cells.

    Args:
        source: Its media lie beside it; the copy names them by whole paths.
        out: The copy; its folder is made.
        fields: Columns of media.
        share: Of their cells, that is emptied.
        fill: Whether an emptied cell names a black picture or a silent sound (beside the copy) instead of nothing.
    """
    with open(source, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    out.parent.mkdir(parents=True, exist_ok=True)
    blank = {field: str(_write_blank(field, out.parent)) if fill else "" for field in fields}
    for row, holes in zip(rows, emptied_cells(source.name, len(rows), len(fields), share), strict=True):
        for field, hole in zip(fields, holes, strict=True):
            row[field] = blank[field] if hole else str(source.parent / row[field])
    with open(out, "w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _write_blank(field: str, folder: Path) -> Path:
    """The file that stands for nothing, written once."""
    path = folder / BLANKS[field]
    if path.exists():
        return path
    if path.suffix == ".png":
        from PIL import Image

        Image.new("L", (PICTURE_SIZE, PICTURE_SIZE)).save(path)
    else:
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
            sound.writeframes(bytes(2 * round(RATE_HZ * SILENCE_S)))
    return path
