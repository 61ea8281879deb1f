"""Decoded rows that nobody learnt from, with their labels, kept beside a run for checks of what is made of its model.

They stay at home like the report: what ships holds no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from omnifuse.data.pack import Pack
from omnifuse.deploy.weights import encode_weights, read_weights
from omnifuse.errors import ArtefactError
from omnifuse.files import make_folder, write_atomically

HELD_BACK = "held_back.safetensors"
MOST_ROWS, MOST_BYTES = 64, 32 * 1024 * 1024
# No input has an empty name, so none is taken for this
_LABELS = "/label/"


def save_held_back(
    folder: Path, packs: Mapping[str, Pack], rows: np.ndarray, *, targets: Mapping[str, np.ndarray] | None = None
) -> Path:
    """Write at most 64 rows, fewer where they are large.

    Args:
        folder: The run folder.
        packs: Input to decoded arrays.
        rows: Candidates in order.
        targets: Target to the encoded labels of all rows.
    """
    rows = rows[:MOST_ROWS]
    while len(rows) > 2 and sum(_size(pack, rows) for pack in packs.values()) > MOST_BYTES:
        rows = rows[: len(rows) // 2]
    found: dict[str, np.ndarray] = {}
    for name, pack in packs.items():
        taken = pack.bare.take(rows)
        found[f"{name}/present"] = taken.present
        found[f"{name}/lengths"] = taken.lengths.astype(np.int64)
        found |= {f"{name}/array/{array}": values for array, values in taken.values.items()}
    found |= {f"{_LABELS}{name}": np.asarray(labels)[rows] for name, labels in (targets or {}).items()}
    make_folder(folder)
    write_atomically(folder / HELD_BACK, encode_weights(found))
    return folder / HELD_BACK


def _size(pack: Pack, rows: np.ndarray) -> int:
    lengths = int(pack.lengths[rows].sum())
    return sum(lengths * array[:1].nbytes for array in pack.arrays.values())


def load_held_back(folder: Path, names: tuple[str, ...]) -> dict[str, Pack] | None:
    """The rows of a run as packs, None where none were kept.

    Args:
        folder: The run folder.
        names: Inputs of the model.

    Raises:
        ArtefactError: The file is damaged or belongs to another model.
    """
    path = folder / HELD_BACK
    if not path.is_file():
        return None
    found = read_weights(path)
    packs = {}
    for name in names:
        start = f"{name}/array/"
        arrays = {key.removeprefix(start): values for key, values in found.items() if key.startswith(start)}
        if f"{name}/present" not in found or f"{name}/lengths" not in found or not arrays:
            raise ArtefactError(f"{HELD_BACK} has no field '{name}'", fix="It belongs to another run: fit again")
        present = found[f"{name}/present"]
        lengths = np.zeros(len(present), np.int64)
        if int(present.sum()) != len(found[f"{name}/lengths"]):
            raise ArtefactError(f"{HELD_BACK} is damaged at field '{name}'", fix="Fit again")
        lengths[present] = found[f"{name}/lengths"]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if any(len(values) != offsets[-1] for values in arrays.values()):
            raise ArtefactError(f"{HELD_BACK} is damaged at field '{name}'", fix="Fit again")
        packs[name] = Pack(arrays, offsets, present)
    return packs


def load_held_back_labels(folder: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Target to the encoded labels of the rows that `load_held_back` gives; nothing where a run kept none.

    Args:
        folder: The run folder.
        names: Targets of the model.

    Raises:
        ArtefactError: The file is damaged or belongs to another model.
    """
    path = folder / HELD_BACK
    if not path.is_file():
        return {}
    found = read_weights(path)
    labels = {key.removeprefix(_LABELS): values for key, values in found.items() if key.startswith(_LABELS)}
    if not labels:
        return {}
    if absent := [name for name in names if name not in labels]:
        raise ArtefactError(f"{HELD_BACK} has no label '{absent[0]}'", fix="It belongs to another run: fit again")
    num_rows = {len(values) for key, values in found.items() if key.endswith("/present")}
    if {len(labels[name]) for name in names} != num_rows:
        raise ArtefactError(f"{HELD_BACK} is damaged at its labels", fix="Fit again")
    return {name: labels[name] for name in names}
