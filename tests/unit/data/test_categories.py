"""Exact level texts and their numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omnifuse.data.categories import MISSING_LEVEL, UNKNOWN_LEVEL, CategoryColumn, category_text
from omnifuse.errors import InputError


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("03", "03"),
        ("3.0", "3.0"),
        (3, "3"),
        (3.0, "3"),
        (np.int64(3), "3"),
        (np.float32(2.5), "2.5"),
        (True, "True"),
        (np.bool_(True), "True"),
        (b"x\xff", "x\ufffd"),
        (" a ", " a "),
        ("x" * 2000, "x" * 1000),
        (float("inf"), "inf"),
        ("\u7537", "\u7537"),
    ],
)
def test_text_of_a_cell(cell, text):
    assert category_text(cell) == text


def test_levels_are_counted_and_numbered():
    column = CategoryColumn.fit("x", ["b", "a", "b", None, "a", "b", "rare"])
    assert column.levels == ("b", "a")
    assert column.cardinality == 4
    assert column.indices(["b", "a", "rare", "new", None, float("nan")]).tolist() == [2, 3, 0, 0, 1, 1]
    assert (column.index("new"), column.index(None)) == (UNKNOWN_LEVEL, MISSING_LEVEL)
    assert CategoryColumn.from_json(json.loads(json.dumps(column.to_json()))) == column


def test_limits():
    assert CategoryColumn.fit("x", ["a", "b", "b", "c", "c"], min_count=1, max_levels=2).levels == ("b", "c")
    assert CategoryColumn.fit("x", [None]).levels == ()
    for options in ({"min_count": 0}, {"max_levels": 0}):
        with pytest.raises(InputError, match=r"min_count and max_levels must be at least 1"):
            CategoryColumn.fit("x", ["a"], **options)


def test_frames_and_files_give_the_same_levels():
    typed = CategoryColumn.fit("x", [1.0, 2.0, 1.0, 2.0, None])
    assert typed == CategoryColumn.fit("x", ["1", "2", "1", "2", None])
    mixed = CategoryColumn.fit("x", [True, 1, True, 1, [1], [1]], min_count=1)
    assert set(mixed.levels) == {"True", "1", "[1]"}
