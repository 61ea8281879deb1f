"""What the report shows of a row."""

from __future__ import annotations

import numpy as np

from omnifuse.api.reporting import MAX_CELL, Scored, _example
from omnifuse.data.media import MediaDoor
from omnifuse.data.tables import open_table
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind


def test_long_cells_end_after_a_word_with_an_ellipsis():
    rows = [{"note": "a red brick house " * 40, "size": 3, "kind": "a"}, {"note": None, "size": 4, "kind": "b"}]
    table = open_table(rows)
    schema = Schema(
        (Field("note", Modality.TEXT), Field("size", Modality.NUMBER)),
        (Target("kind", TaskKind.CLASSIFICATION, ("a", "b")),),
    )
    scored = Scored(table, np.arange(2), {}, {}, "two rows")
    shown = [dict(_example(scored, schema, row, MediaDoor(), media=False)["cells"]) for row in range(2)]
    assert shown[0]["note"].endswith(" a red brick\u2026")
    assert MAX_CELL - 6 <= len(shown[0]["note"]) <= MAX_CELL
    assert [cells["size"] for cells in shown] == ["3", "4"]
    assert shown[1]["note"] == "(missing)"
