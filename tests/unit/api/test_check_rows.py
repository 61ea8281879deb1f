"""The rows that graphs are judged on."""

from __future__ import annotations

import numpy as np
import pytest
from tests.explained import ROW, SumModel

from omnifuse.api.check_rows import CheckRows, rows_of_table, same_rows
from omnifuse.data.pack import Pack
from omnifuse.errors import InputError


def test_rows_of_a_table_with_the_labels_that_it_has():
    found = rows_of_table(SumModel("kind", "price"), [{**ROW, "kind": "red"}, {"note": "blue", "kind": "green"}])
    assert (found.count, found.words) == (2, "2 rows of <memory>")
    assert {name: labels.tolist() for name, labels in found.truths.items()} == {"kind": [1, -1]}
    assert found.packs["photo"].present.tolist() == [True, False]


def test_a_table_that_cannot_be_judged_on_is_one_clear_error():
    with pytest.raises(InputError, match="none of the label columns kind"):
        rows_of_table(SumModel(), [ROW])
    with pytest.raises(InputError, match=r"no field of the table can be read.*first 1 rows.*note, photo, table"):
        rows_of_table(SumModel(), [{"note": None, "kind": "red"}])


def test_the_first_rows_of_ragged_arrays():
    pack = Pack({"ids": np.arange(6)}, np.array([0, 2, 2, 6]), np.array([True, False, True]))
    found = CheckRows({"x": pack}, {"y": np.array([1, 0, 1])}, "").first(2)
    assert found.count == 2
    assert found.packs["x"].arrays["ids"].tolist() == [0, 1]
    assert found.truths["y"].tolist() == [1, 0]


def test_rows_are_the_same_where_all_labels_are():
    one = {"y": np.array([1.0, np.nan]), "z": np.array([0, 1])}
    assert same_rows(one, {name: labels.copy() for name, labels in one.items()})
    assert not same_rows(one, {**one, "z": np.array([1, 1])})
    assert not same_rows(one, {"y": one["y"]})
    assert not same_rows({}, {})
