"""What the report shows of a row."""

from __future__ import annotations

import numpy as np

from omnifuse.api.reporting import MAX_CELL, Scored, _answer_words, _confusion, _example, _worst_rows
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


def test_mistakes_and_confusion_are_of_the_classes_answered():
    target = Target("kind", TaskKind.CLASSIFICATION, ("a", "b"))
    table = open_table([{"note": "one", "kind": "a"}, {"note": "two", "kind": "b"}])
    truth, scores = np.array([0, 1]), np.array([[0.6, 0.4], [0.55, 0.45]])
    usual = Scored(table, np.arange(2), {"kind": truth}, {"kind": scores}, "two rows")
    assert usual.answers(target).tolist() == [0, 0]
    assert _worst_rows(target, truth, scores, usual.answers(target)).tolist() == [1]
    tilted = Scored(
        table, np.arange(2), {"kind": truth}, {"kind": scores}, "two rows", chosen={"kind": np.array([1, 1])}
    )
    assert _confusion(target, truth, tilted.answers(target)).tolist() == [[0, 1], [0, 1]]
    assert _worst_rows(target, truth, scores, tilted.answers(target)).tolist() == [0]
    assert _answer_words(target, 0, scores[0], 1, None) == ("b", "a", "40% sure")
