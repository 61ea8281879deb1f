"""A model that is a sum of words, columns and bright pixels: what carries its answers is known by hand."""

from __future__ import annotations

import numpy as np

from omnifuse.data.image import ImagePreprocessor
from omnifuse.data.table import TablePreprocessor
from omnifuse.data.text import TextPreprocessor
from omnifuse.explain import Explaining
from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

FIELDS = ("note", "photo", "table")
TEXT = TextPreprocessor.fit(["red house", "blue house", "a red and a blue boat"] * 4)
RED = int(TEXT("red")["ids"][0])
TABLE = TablePreprocessor.fit(
    {"size": ["1", "2", "3", "4"] * 3, "weight": ["1", "2", "3", "4"] * 3, "colour": ["grey", "gold"] * 6},
    numbers=["size", "weight"], categories=["colour"],
)  # fmt: skip
PHOTO = ImagePreprocessor(16, 16)
TARGETS = {
    "kind": Target("kind", TaskKind.CLASSIFICATION, ("blue", "red")),
    "price": Target("price", TaskKind.REGRESSION),
    "tags": Target("tags", TaskKind.TAGGING, ("big", "old")),
    "level": Target("level", TaskKind.ORDINAL, ("low", "mid", "high")),
}
BRIGHT = np.zeros((16, 16, 3), np.uint8)
BRIGHT[:4, 12:] = 255
ROW = {"note": "a red house", "photo": BRIGHT, "size": "4", "weight": "1", "colour": "grey"}


class SumProbe:
    """The sum of what each field says: 2 where "red" is in the note, the share of bright pixels, and the size."""

    def __init__(self, packs, row):
        self.rows = {name: packs[name].row(row) if packs[name].present[row] else None for name in FIELDS}

    def subsets(self, shown):
        return self._raw([{name: self.rows[name] if there else None for name, there in zip(FIELDS, one, strict=True)}
                          for one in shown])  # fmt: skip

    def variants(self, name, pack):
        return self._raw([{**self.rows, name: pack.row(number) if there else None}
                          for number, there in enumerate(pack.present)])  # fmt: skip

    def _raw(self, rows):
        found = np.array([says(**row) for row in rows])[None]
        zero = np.zeros_like(found)
        fused = {
            "kind": np.stack([zero, found], axis=2),
            "price": found[..., None],
            "tags": np.stack([found, -found], axis=2),
            "level": np.stack([zero, zero, found], axis=2),
        }
        present = {name: np.array([row[name] is not None for row in rows]) for name in FIELDS}
        return RawOutputs(fused, {name: {} for name in fused}, present)


def says(note, photo, table):
    total = 0.0 if note is None else 2.0 * (note["ids"] == RED).any()
    total += 0.0 if photo is None else 16.0 * float((photo["pixels"] > 128).mean())
    if table is not None:
        total += float(table["numbers"][0, 0] * ~table["missing"][0, 0]) - 0.5 * float(~table["missing"][0, 2])
    return total


class SumModel(Explaining):
    def __init__(self, *names):
        fields = [Field("note", Modality.TEXT), Field("photo", Modality.IMAGE), Field("size", Modality.NUMBER),
                  Field("weight", Modality.NUMBER), Field("colour", Modality.CATEGORY)]  # fmt: skip
        targets = tuple(TARGETS[name] for name in names or ("kind",))
        self.schema = Schema(tuple(fields), targets, ids=("key",))
        self.preprocessors = {"note": TEXT, "photo": PHOTO, "table": TABLE}
        self.readouts = {item.name: TargetReadout(item, FIELDS, mean=10.0 * (item.name == "price")) for item in targets}
        self.manifest, self.model_id = {}, "sum"

    def raw(self, decoded, *, vectors=False):
        raise NotImplementedError

    def probe(self, decoded, row):
        return SumProbe(decoded.packs, row)


SIZE = float(TABLE({"size": "4"})["numbers"][0, 0])


class WideProbe(SumProbe):
    def __init__(self, table):
        self.rows = {"note": None, "photo": None, "table": table}

    def subsets(self, shown):
        return self._raw([{**self.rows, "table": self.rows["table"] if one[0] else None} for one in shown])

    def _raw(self, rows):
        found = np.array([0.0 if row["table"] is None else float(~row["table"]["missing"][0, 7]) for row in rows])[None]
        present = {name: np.array([row[name] is not None for row in rows]) for name in FIELDS}
        return RawOutputs({"kind": np.stack([0 * found, found], axis=2)}, {"kind": {}}, present)
