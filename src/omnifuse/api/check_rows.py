"""The rows that graphs are tried and judged on: those that `fit` held back, or those of a table.

Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.pack import Pack
from omnifuse.data.tables import open_table
from omnifuse.data.targets import encode_target
from omnifuse.deploy.artefact import Artefact
from omnifuse.deploy.description import described
from omnifuse.deploy.held_back import load_held_back, load_held_back_labels
from omnifuse.errors import InputError
from omnifuse.readout.answering import Answering

# Of a table that is given, so many rows are looked at
MOST_CHECKED = 512


@dataclass(frozen=True)
class CheckRows:
    """Rows that graphs are judged on.

    Attributes:
        packs: Input to decoded arrays.
        truths: Target to encoded labels; empty where there are none.
        words: What they are.
    """

    packs: dict[str, Pack]
    truths: dict[str, np.ndarray]
    words: str

    @property
    def count(self) -> int:
        """Their number."""
        return len(next(iter(self.packs.values())).present)

    def first(self, count: int) -> CheckRows:
        """The first of them."""
        truths = {name: labels[:count] for name, labels in self.truths.items()}
        return replace(self, packs={name: _first(pack, count) for name, pack in self.packs.items()}, truths=truths)


def _first(pack: Pack, count: int) -> Pack:
    arrays = {name: array[: pack.offsets[count]] for name, array in pack.arrays.items()}
    return Pack(arrays, pack.offsets[: count + 1], pack.present[:count])


def rows_of_table(model: Answering, source: Any) -> CheckRows:
    """The first 512 rows of a labelled table.

    Args:
        model: Reads them.
        source: Path, frame or list of dicts.

    Raises:
        InputError: It has none of the labels, or nothing of it can be read.
    """
    table = next(iter(model.opened(open_table(source)).batches(MOST_CHECKED)))
    named = {name: item.target for name, item in model.readouts.items() if name in table.columns}
    if not named:
        raise InputError(
            f"the table has none of the label columns {', '.join(model.readouts)}",
            where=f"its columns are {', '.join(table.columns)}",
            fix="Give a labelled table, or leave --check out",
        )
    packs = model.decode(table).packs
    if not any(pack.present.any() for pack in packs.values()):
        raise InputError(
            "no field of the table can be read",
            where=f"the first {table.num_rows} rows of {table.name}",
            fix=f"Give rows with some of the fields {', '.join(model.fields)}, or leave --check out",
        )
    truths = {name: encode_target(table.cells(name), target) for name, target in named.items()}
    return CheckRows(packs, truths, f"{table.num_rows} rows of {table.name}")


def rows_held_back(place: Path, artefact: Artefact) -> CheckRows:
    """The rows that `fit` held back.

    Args:
        place: The model folder in the run folder.
        artefact: The model.

    Raises:
        InputError: There are none.
        ArtefactError: The file is damaged or belongs to another model.
    """
    found = described(artefact.manifest)
    packs = load_held_back(place.parent, tuple(item.name for item in found.schema.inputs))
    if packs is None:
        raise InputError(
            "there are no rows to judge smaller graphs on",
            where=f"the run folder of '{place}' keeps none",
            fix="Give a labelled table with the model's fields: --check TABLE",
        )
    rows = CheckRows(packs, load_held_back_labels(place.parent, tuple(found.readouts)), "")
    words = f"{rows.count} rows held back by fit" + ("" if rows.truths else ", which kept no labels")
    if "out-of-fold" in str(artefact.manifest.get("data", {}).get("scored_on", "")):
        words += "; each was learnt from by all members but one, so only losses count, not the scores"
    return replace(rows, words=words)


def same_rows(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    """Whether rows with these labels are the same, as far as labels can tell."""
    return (
        bool(first)
        and first.keys() == second.keys()
        and all(
            np.array_equal(labels, second[name], equal_nan=labels.dtype.kind == "f") for name, labels in first.items()
        )
    )
