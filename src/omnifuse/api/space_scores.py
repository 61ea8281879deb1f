"""What a pretrained space is worth: how fields find one another in it, and whether it has collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnifuse.association.collapse import spread_of
from omnifuse.association.items import Items
from omnifuse.data.pack import Pack
from omnifuse.evaluation.retrieval import retrieval_scores
from omnifuse.model import MultimodalModel
from omnifuse.training.predict import run_subsets
from omnifuse.training.pretraining import ID, code_name

# Fewer rows with both fields tell nothing of retrieval
FEWEST_ROWS = 2


def measure_space(
    network: MultimodalModel,
    packs: Mapping[str, Pack],
    rows: np.ndarray,
    pairs: Sequence[tuple[str, str]],
    codes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Retrieval of each pair both ways, and the spread of each field.

    Args:
        network: In eval mode, with a shared space.
        packs: Input to decoded arrays.
        rows: Rows to measure by.
        pairs: Fields that were compared.
        codes: See `code_name`.

    Returns:
        "retrieval": `one>two` to scores, "space": field to spread, "notes": collapses in words.
    """
    import torch

    raw = run_subsets([network], packs, rows, [network.fields], vectors=True)[network.fields]
    vectors = {name: torch.from_numpy(values) for name, values in raw.field_pooled.items()}
    retrieval: dict[str, Any] = {}
    for one, two in pairs:
        both = packs[one].present[rows] & packs[two].present[rows]
        if int(both.sum()) < FEWEST_ROWS:
            continue
        chosen = torch.from_numpy(both)
        names = [name for name in (code_name(ID), code_name(one), code_name(two)) if name in codes]
        items = Items.joined([torch.from_numpy(codes[name][rows][both]) for name in names], int(both.sum()))
        for first, second in ((one, two), (two, one)):
            retrieval[f"{first}>{second}"] = retrieval_scores(vectors[first][chosen], vectors[second][chosen], items)
    space, notes = {}, []
    for name, values in vectors.items():
        there = values[~values.isnan().any(dim=1)]
        if len(there) < FEWEST_ROWS:
            continue
        spread = spread_of(there)
        space[name] = {
            "effective_rank": round(spread.effective_rank, 3),
            "deviation": round(spread.deviation, 4),
            "width": spread.width,
            "collapsed": spread.collapsed,
        }
        if spread.collapsed:
            notes.append(
                f"{spread.words(name)}. Its vectors tell rows hardly apart: give more rows or minutes, another "
                "--objective, or a lower rate with --set learning_rate=VALUE."
            )
    return {"retrieval": retrieval, "space": space, "notes": [note[0].upper() + note[1:] for note in notes]}
