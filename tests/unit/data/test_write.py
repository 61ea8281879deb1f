"""Answers to files, and back."""

from __future__ import annotations

import csv
import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnifuse.data import write
from omnifuse.data.tables import open_table
from omnifuse.data.write import escape_formula, write_rows
from omnifuse.errors import InputError

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
# Texts as they can stand in a file: no lone surrogate, no NUL (which our reader refuses), nothing blank
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda text: text.strip()
)
numbers = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
rows = st.lists(st.tuples(texts, numbers, st.one_of(st.none(), texts)), min_size=1, max_size=9)
NAMES = ("name", "value", "a=b, c")


@quick
@given(rows)
def test_csv_round_trip(tmp_path, cells):
    path = tmp_path / "out.csv"
    write_rows((dict(zip(NAMES, row, strict=True)) for row in cells), path)
    table = open_table(path)
    assert table.columns == NAMES
    for name, written in zip(NAMES, zip(*cells, strict=True), strict=True):
        expected = [None if cell is None else str(escape_formula(cell)) for cell in written]
        assert table.cells(name) == expected
    with path.open(newline="", encoding="utf-8") as handle:
        assert [len(row) for row in csv.reader(handle)] == [3] * (len(cells) + 1)


@quick
@given(rows)
def test_jsonl_and_parquet_round_trip(tmp_path, cells):
    for suffix in ("jsonl", "parquet"):
        path = tmp_path / f"out.{suffix}"
        write_rows((dict(zip(NAMES, row, strict=True)) for row in cells), path)
        table = open_table(path)
        for name, written in zip(NAMES, zip(*cells, strict=True), strict=True):
            assert table.cells(name) == list(written)


def test_values_of_numpy_and_holes(tmp_path):
    row = {"a": np.float32(0.5), "b": np.int64(3), "c": float("nan"), "d": True, "e": None, "f": np.array([1.0, 2.0])}
    for suffix in ("csv", "jsonl", "parquet"):
        write_rows([row, row], tmp_path / f"x.{suffix}")
    assert (tmp_path / "x.csv").read_text() == "a,b,c,d,e,f\n" + '0.5,3,,True,,"[1.0, 2.0]"\n' * 2
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0]) == {
        "a": 0.5,
        "b": 3,
        "c": None,
        "d": True,
        "e": None,
        "f": [1.0, 2.0],
    }
    frame = pl.read_parquet(tmp_path / "x.parquet")
    assert frame.row(0) == (0.5, 3, None, True, None, [1.0, 2.0])
    write_rows([{"a": math.inf, "b": [math.inf]}], tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_text() == '{"a": null, "b": [null]}\n'


def test_one_empty_cell_is_a_row(tmp_path):
    write_rows([{"a": "x"}, {"a": None}, {"a": "y"}], tmp_path / "x.csv")
    assert open_table(tmp_path / "x.csv").cells("a") == ["x", None, "y"]


def test_lone_surrogates_do_not_stop_the_writing(tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        write_rows([{"\ud800": "x\ud800", "b": "\u4f60"}], tmp_path / f"x.{suffix}")
        assert open_table(tmp_path / f"x.{suffix}").cells("?") == ["x?"]


def test_parquet_types_may_change_from_block_to_block(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "_CHUNK", 2)
    columns = {
        "late": [None, None, None, None, 0.5, None],
        "wider": [1, 2, 3, 4, 0.5, None],
        "mixed": [1, 2, "a", None, None, 2.5],
        "within": [1, "a", 2, 3, None, True],
        "lists": [None, None, [0.5], None, None, None],
        "never": [None] * 6,
        "odd": [[1], [2], "x", None, 3, None],
    }
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    write_rows(rows, tmp_path / "x.parquet")
    frame = pl.read_parquet(tmp_path / "x.parquet")
    assert frame["late"].to_list() == columns["late"]
    assert frame["wider"].to_list() == columns["wider"]
    assert frame["mixed"].to_list() == ["1", "2", "a", None, None, "2.5"]
    assert frame["within"].to_list() == ["1", "a", "2", "3", None, "True"]
    assert frame["lists"].to_list() == columns["lists"]
    assert frame["never"].to_list() == [None] * 6
    assert frame["odd"].to_list() == ["[1]", "[2]", "x", None, "3", None]
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_old_answers_stay_until_all_is_written(suffix, tmp_path):
    path = tmp_path / "deep" / f"x.{suffix}"
    write_rows([{"a": 1}], path)
    before = path.read_bytes()

    def broken():
        yield {"a": 2}
        raise InputError("the table ends here")

    with pytest.raises(InputError, match=r"the table ends here"):
        write_rows(broken(), path)
    with pytest.raises(InputError, match=r"there is no row to write to 'x"):
        write_rows([], path)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_two_writers_of_one_file_do_not_meet(suffix, tmp_path, monkeypatch):
    """The second begins and ends while the first is in the middle: each writes a whole file, the last one stays."""
    monkeypatch.setattr(write, "_CHUNK", 2)
    path = tmp_path / f"x.{suffix}"
    seen = []

    def slow():
        for number in range(7):
            if number == 5:
                write_rows(({"who": "second", "n": f"{row}"} for row in range(3)), path)
                table = open_table(path)
                seen.append((table.cells("who"), sorted(item.name for item in tmp_path.iterdir())))
            # From row 4 on of a wider type, so that Parquet writes its file again
            yield {"who": "first", "n": f"{number}" if number > 3 else number}

    write_rows(slow(), path)
    ((second, names),) = seen
    assert second == ["second"] * 3
    assert len(names) == 2
    assert open_table(path).cells("who") == ["first"] * 7
    assert [str(cell) for cell in open_table(path).cells("n")] == [str(number) for number in range(7)]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_many_writers_at_once_leave_one_whole_file(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"

    def rows(who):
        return [{"who": who, "n": number} for number in range(500)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda who: write_rows(rows(f"w{who}"), path), range(12)))
    table = open_table(path)
    assert table.num_rows == 500
    assert len(set(table.cells("who"))) == 1
    assert [int(cell) for cell in table.cells("n")] == list(range(500))
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_failure_takes_nothing_from_another_writer(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"

    def broken():
        yield {"a": 1}
        raise InputError("the table ends here")

    def rows():
        yield {"a": "kept"}
        with pytest.raises(InputError, match=r"the table ends here"):
            write_rows(broken(), path)
        yield {"a": "too"}

    write_rows(rows(), path)
    assert open_table(path).cells("a") == ["kept", "too"]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_answers_have_the_rights_of_any_new_file_and_names_may_be_long(tmp_path):
    (tmp_path / "plain").write_text("")
    long = tmp_path / ("x" * 240 + ".csv")
    write_rows([{"a": 1}], long)
    assert long.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(
        InputError, match=r"answers are not written to 'x.xlsx'. Name it OUT.csv, OUT.parquet, OUT.jsonl"
    ):
        write_rows([{"a": 1}], tmp_path / "x.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder.csv' cannot be written: Is a directory. Check the folder"):
        write_rows([{"a": 1}], tmp_path / "folder.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written"):
        write_rows([{"a": 1}], tmp_path / "file" / "x.csv")


@pytest.mark.parametrize("cell", ["-3.5", "+4", "-1,234.5", "-12%", "a=1", "", 5, -5, None, " x", "x@y.org"])
def test_numbers_and_plain_texts_are_not_escaped(cell):
    assert escape_formula(cell) == cell
