"""The number and category columns of a row."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omnifuse.data.table import TablePreprocessor

COLUMNS = {"age": ["30", "40", None, "x", "50"], "kind": ["a", "b", "a", None, "b"], "other": ["p"] * 5}


@pytest.fixture
def table():
    return TablePreprocessor.fit(COLUMNS, numbers=["age"], categories=["kind"])


def test_arrays_of_rows(table):
    rows = table.rows(COLUMNS)
    assert rows["numbers"].shape == (5, 1)
    assert rows["numbers"].dtype == np.float32
    assert rows["categories"].ravel().tolist() == [2, 3, 2, 1, 3]
    assert rows["missing"].tolist() == [[0, 0], [0, 0], [1, 0], [1, 1], [0, 0]]
    assert rows["numbers"][2, 0] == rows["numbers"][3, 0] == 0
    assert (table.num_numbers, table.num_categories, table.cardinalities) == (1, 1, (4,))
    assert table.columns == ("age", "kind")
    assert len(table.edges) == 1


def test_row_by_row_is_the_same(table):
    rows = table.rows(COLUMNS)
    for place in range(5):
        one = table({name: cells[place] for name, cells in COLUMNS.items()})
        assert set(one) == set(rows)
        for name, array in one.items():
            assert array.dtype == rows[name].dtype
            assert np.array_equal(array[0], rows[name][place])


def test_absent_columns_are_missing(table):
    one = table({"unasked": 1})
    assert one["missing"].all()
    assert one["categories"].tolist() == [[1]]
    assert table.rows({"kind": ["a"]})["missing"].tolist() == [[True, False]]


def test_unreadable_cells_are_named(table):
    assert table.unreadable({"age": "old", "kind": "zzz"}) == ("age",)
    assert table.unreadable({"age": None}) == ()
    assert table.unreadable({"age": "31"}) == ()


def test_json(table):
    again = TablePreprocessor.from_json(json.loads(json.dumps(table.to_json())))
    assert again == table
    assert np.array_equal(again.rows(COLUMNS)["numbers"], table.rows(COLUMNS)["numbers"])


def test_only_numbers_or_only_categories():
    numbers = TablePreprocessor.fit(COLUMNS, numbers=["age"], categories=[])
    assert numbers({"age": 1})["categories"].shape == (1, 0)
    categories = TablePreprocessor.fit(COLUMNS, numbers=[], categories=["kind"])
    assert categories({"kind": "a"})["numbers"].shape == (1, 0)
