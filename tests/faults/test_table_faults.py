"""T01, T16, T17: tables that break parsers, and cells that break spreadsheets."""

from __future__ import annotations

import csv
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest

from omnifuse.data import readers
from omnifuse.data.tables import open_table
from omnifuse.data.write import escape_formula, write_rows
from omnifuse.errors import InputError

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+cmd", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] + [
    "\uff1d1+1",
    "\uff0b1+A1",
    "\uff0dA1",
    "\uff20SUM(A1)",
    '=HYPERLINK("http://x","y")',
    "+",
    "=",
]


def refused(folder, content, words, name="x.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words) as caught:
        open_table(path)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet", "x.jsonl"])
def test_t01_zero_byte_table(name, tmp_path):
    refused(tmp_path, b"", r"x\.(csv is empty|tsv is empty|parquet is not a Parquet file|jsonl has no rows)", name)


def test_t16_a_million_columns(tmp_path):
    line = ",".join(f"c{number}" for number in range(1_000_000))
    refused(tmp_path, line + "\n1,2\n", r"line 1 of x.csv has more than 10000 columns. Turn rows and columns round")


def test_t16_a_cell_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(readers, "_BLOCK", 1 << 16)
    path = tmp_path / "x.csv"
    with path.open("wb") as handle:
        handle.write(b"a,b\n1,2\n3,")
        for _ in range(32):
            handle.write(b"x" * (1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"line 3 of x.csv is longer than 1 MB. Look for a quote"):
            open_table(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", ["loaded", "scanned"])
def test_t16_a_large_cell_of_many_lines(way, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_CELL_BYTES", 1 << 20)
    if way == "scanned":
        monkeypatch.setattr(readers, "MAX_LOADED_BYTES", 0)
    monkeypatch.setattr(readers, "_BLOCK", 1 << 18)
    text = "a,b\n1,2\n" + '3,"' + "line\n" * (1 << 19) + '"\n4,5\n'
    refused(tmp_path, text, r"line 3 of x.csv opens a quote that is not closed within 1 MB. Look for a quote")
    refused(tmp_path, text.replace('"', '"""', 1), r"row 2 of x.csv has a cell of more than 1 MB. Look for a quote")


def test_t16_marks_of_inches_open_no_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_CELL_BYTES", 1 << 12)
    monkeypatch.setattr(readers, "_BLOCK", 1 << 10)
    (tmp_path / "x.csv").write_text('a,b\n"p, ""q"", r",1\n"s,",5"" disk\n' + "3,4\n" * 5000)
    assert open_table(tmp_path / "x.csv").cells("a")[:3] == ['p, "q", r', "s,", "3"]
    refused(tmp_path, 'a,b\n"p",1\n5" disk,2\n3,4\n', r"line 3 of x.csv has a quote inside of a cell that does not")


def test_t16_a_quote_that_swallows_the_file(tmp_path, monkeypatch):
    rows = "".join(f"{number},x\n" for number in range(100_000))
    refused(tmp_path, 'a,b\n1,"x\n' + rows, r"line 2 of x.csv opens a quote that is never closed")
    monkeypatch.setattr(readers, "MAX_CELL_BYTES", 1 << 18)
    refused(tmp_path, 'a,b\n1,"x\n' + rows, r"line 2 of x.csv opens a quote that is not closed within 0 MB")
    refused(tmp_path, 'a,b\n1,"""x\n' + rows, r"line 2 of x.csv cannot be read: field larger than field limit")
    refused(tmp_path, '"a,b\n' + rows, r"line 1 of x.csv opens a quote")
    refused(tmp_path, '"""a,b\n' + rows, r"the header of x.csv cannot be read: field larger than .* Mend line 1")


def test_t16_nul_bytes(tmp_path):
    refused(tmp_path, b"a,b\n1,2\n3,\0\n", r"x.csv has a NUL byte in line 3. Save it as plain UTF-8 text")
    refused(tmp_path, b"\0" * 100, r"NUL byte in line 1")
    refused(tmp_path, b'{"a": 1}\n{"a": "\0"}\n', r"NUL byte in line 2", "x.jsonl")


def test_t16_mixed_encodings(tmp_path):
    mixed = "a,b\n\u00e9t\u00e9,1\n".encode() + "\u00e9t\u00e9,2\n".encode("latin-1")
    refused(tmp_path, mixed, r"line 3 of x.csv is not UTF-8 text \(byte 0xe9\). Save the whole file as UTF-8")
    refused(tmp_path, "a,b\n\u4f60,1\n".encode("gb18030"), r"line 2 of x.csv is not UTF-8 text")
    refused(tmp_path, "a,b\n1,2\n".encode("utf-16"), r"UTF-16")
    refused(tmp_path, "a,b\n1,2\n".encode("utf-32"), r"UTF-16|NUL")


def test_t16_byte_order_mark(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfa,b\n03,2\n")
    assert open_table(tmp_path / "x.csv").columns == ("a", "b")


def test_t16_duplicate_headers(tmp_path):
    refused(tmp_path, "a, b,a \n1,2,3\n", r"line 1 of x.csv names the column 'a' twice. Rename one of them")


def test_t16_ragged_rows(tmp_path):
    refused(tmp_path, "a,b\n1,2\n3\n", r"line 3 of x.csv has 1 cells, the header has 2")
    refused(tmp_path, "a,b\n1,2\n3,4,5\n", r"line 3 of x.csv has 3 cells, the header has 2")


def test_t16_text_that_unpacks_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_UNPACKED_BYTES", 1 << 20)
    indices = pyarrow.array([0] * 5000, pyarrow.int32())
    repeated = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(["x" * 10_000]))
    path = tmp_path / "x.parquet"
    for stored in (True, False):
        pyarrow.parquet.write_table(pyarrow.table({"a": repeated}), path, store_schema=stored)
        assert path.stat().st_size < 20_000
        with pytest.raises(InputError, match=r"x.parquet unpacks to 47 MB. Put large repeated contents into files"):
            open_table(path)
    monkeypatch.setattr(readers, "MAX_CELL_BYTES", 9_999)
    with pytest.raises(InputError, match=r"x.parquet has a cell of more than 0 MB"):
        open_table(path)


@pytest.mark.parametrize("cell", FORMULAS)
def test_t17_formula_cells_are_escaped(cell, tmp_path):
    assert escape_formula(cell) == "'" + cell
    write_rows([{"id": cell, cell: "x", "tags": [cell]}], tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as handle:
        header, row = csv.reader(handle)
    assert header == ["id", "'" + cell, "tags"]
    assert row[:2] == ["'" + cell, "x"]
    assert not row[2].startswith(cell)


def test_t17_other_objects_are_escaped_too(tmp_path):
    class Sly:
        def __str__(self):
            return "=cmd"

    write_rows([{"a": Sly(), "b": -3.5, "c": "-3.5"}], tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "a,b,c\n'=cmd,-3.5,-3.5\n"
