"""Few labels: the rows of each class that are learnt from, and the labelled rows that are left to score on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from omnifuse.api.prepare import column_codes
from omnifuse.data.tables import Table
from omnifuse.data.targets import encode_target
from omnifuse.errors import InputError
from omnifuse.schema import Target, TaskKind

# Rows that were not drawn are scored, at most so many
MOST_SCORED = 2000


@dataclass(frozen=True)
class Drawn:
    """Rows of a table by role.

    Attributes:
        learnt: Rows that are drawn, `shots` a class or what there is, in the table's order.
        scored: Labelled rows that are not, in the table's order; none where all were drawn.
        notes: Sentences on how many there are of each.
    """

    learnt: Table
    scored: Table | None
    notes: list[str]


def draw_shots(table: Table, target: Target, shots: int, *, group: str | None, seed: int) -> Drawn:
    """Draw labelled rows of each class.

    Args:
        table: All rows.
        target: The label.
        shots: Rows of each class.
        group: Column of groups; a group that is learnt from is not scored.
        seed: Of the draw.

    Raises:
        InputError: The label is no class, or a class has less than 2 rows.
    """
    if target.kind is not TaskKind.CLASSIFICATION:
        raise InputError(
            f"--shots draws rows of each class, and '{target.name}' is read as {target.kind.value}",
            fix=f"Say --task {target.name}=classification, or leave --shots out",
        )
    codes = encode_target(table.cells(target.name), target)
    draw = np.random.default_rng([seed, 17])
    chosen = []
    for number in range(len(target.classes)):
        rows = np.flatnonzero(codes == number)
        if len(rows) < 2:
            raise InputError(
                f"the class '{target.classes[number]}' of '{target.name}' has one labelled row",
                where="one is learnt from, and one is needed to choose and calibrate by",
                fix="Label at least 2 rows of each class",
            )
        chosen.append(draw.permutation(rows)[:shots])
    learnt = np.sort(np.concatenate(chosen))
    few = [f"'{target.classes[n]}' {len(rows)}" for n, rows in enumerate(chosen) if len(rows) < shots]
    notes = [f"Learnt from {len(learnt)} labelled rows, drawn by seed {seed}: {shots} of each class."]
    if few:
        notes[0] = f"{notes[0][:-1]}, or all there are ({', '.join(few[:8])}{', ...' if len(few) > 8 else ''})."
    rest = np.setdiff1d(np.flatnonzero(codes >= 0), learnt)
    groups = column_codes(table, group)
    if groups is not None and len(rest):
        shared = np.isin(groups[rest], groups[learnt])
        if shared.any():
            notes.append(f"{int(shared.sum())} rows of groups that are learnt from are not scored.")
        rest = rest[~shared]
    if len(rest) > MOST_SCORED:
        notes.append(f"{MOST_SCORED} of the {len(rest)} labelled rows that are not learnt from are scored.")
        rest = np.sort(draw.permutation(rest)[:MOST_SCORED])
    scored = replace(table.select(rest), name=f"{table.name} that were not drawn") if len(rest) else None
    return Drawn(table.select(learnt), scored, notes)
