"""A small answerer without torch: words, pictures and prices that meet in a space of colours, and a table of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from omnifuse.data.decode import Decoded
from omnifuse.data.media import MediaDoor
from omnifuse.data.pack import BadCell
from omnifuse.data.tables import Table
from omnifuse.errors import MediaError
from omnifuse.readout.answering import Answering
from omnifuse.readout.raw import RawOutputs
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

COLOURS = ("red", "green", "blue")
FIELDS = ("note", "picture", "table")
WIDTH = 4


class ColourModel(Answering):
    """Each field is a vector in (red, green, blue, constant); the fused one is the mean of those that are there."""

    def __init__(self, model_id: str = "colours0001", folder: Path | None = None) -> None:
        self.schema = Schema(
            (Field("note", Modality.TEXT), Field("picture", Modality.IMAGE), Field("price", Modality.NUMBER)),
            (Target("kind", TaskKind.CLASSIFICATION, ("coat", "hat")),),
            ids=("key",),
        )
        self.preprocessors, self.readouts, self.manifest = {}, {}, {}
        self.model_id, self.folder = model_id, folder

    def decode(self, table: Table, *, confined: bool = False) -> Decoded:
        bad = []
        door = MediaDoor(root=table.root, confined=confined)
        for row, cell in enumerate(_cells(table, "picture")):
            try:
                if cell is not None:
                    door.image(cell)
            except MediaError as error:
                bad.append(BadCell(row, "picture", error.what))
        return Decoded(table, {}, bad, ())

    def raw(self, decoded: Decoded, *, vectors: bool = False) -> RawOutputs:
        table = decoded.table
        door = MediaDoor(root=table.root)
        found = {
            "note": [_word_vector(cell) for cell in _cells(table, "note")],
            "picture": [_picture_vector(cell, door) for cell in _cells(table, "picture")],
            "table": [_price_vector(cell) for cell in _cells(table, "price")],
        }
        fields = {name: np.array(rows, np.float32).reshape(-1, WIDTH) for name, rows in found.items()}
        present = {name: ~np.isnan(values).any(axis=1) for name, values in fields.items()}
        count = np.sum(list(present.values()), axis=0)[:, None]
        pooled = np.sum([np.nan_to_num(values) for values in fields.values()], axis=0) / np.maximum(count, 1)
        # As of a network, the vector of a row of nothing is not 0
        return RawOutputs({}, {}, present, np.where(count > 0, pooled, 0.5).astype(np.float32), fields)


def _cells(table: Table, name: str) -> list[Any]:
    return table.cells(name) if name in table.columns else [None] * table.num_rows


def _word_vector(cell: Any) -> list[float]:
    if cell is None:
        return [np.nan] * WIDTH
    return [float(str(cell).split().count(colour)) for colour in COLOURS] + [0.3]


def _picture_vector(cell: Any, door: MediaDoor) -> list[float]:
    try:
        return [*(door.image(cell).mean(axis=(0, 1)) / 255), 0.1] if cell is not None else [np.nan] * WIDTH
    except MediaError:
        return [np.nan] * WIDTH


def _price_vector(cell: Any) -> list[float]:
    return [np.nan] * WIDTH if cell is None else [0.0, 0.0, 0.0, float(cell) / 50]


def coloured_rows(folder: Path, count: int = 24, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose note and picture are of one colour; some cells are missing, the media lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        colour = number % 3
        pixels = draw.integers(0, 60, (12, 12, 3))
        pixels[..., colour] += 180
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(
            {
                "key": f"k{number}",
                "note": f"a {COLOURS[colour]} thing number {number}" if number % 5 else None,
                "picture": f"{number}.png" if number % 7 else None,
                "price": f"{number}.5",
                "kind": "coat" if number % 2 else "hat",
                "stock": "true" if number % 4 else "false",
                "added": f"2026-01-{number % 28 + 1:02d}",
                "tags": "new|sale" if number % 6 == 0 else "old|used",
            }
        )
    return rows
