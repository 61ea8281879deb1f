"""Files of tables: what is read, and the line that is named where it cannot be."""

from __future__ import annotations

import json

import polars as pl
import pytest

from omnifuse.data import readers
from omnifuse.data.readers import read_csv, read_jsonl, read_parquet
from omnifuse.errors import InputError


def csv_of(folder, content, name="x.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture(params=["loaded", "scanned"])
def way(request, monkeypatch):
    if request.param == "scanned":
        monkeypatch.setattr(readers, "MAX_LOADED_BYTES", 0)
    return request.param


def rows_of(path):
    return read_csv(path).lazy().collect().rows()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n03,x\n", [("03", "x")]),
        ("a;b\n1,5;x\n", [("1,5", "x")]),
        ("a\tb\n1\tx\n", [("1", "x")]),
        ("a|b\n1|x\n", [("1", "x")]),
        ("\ufeffa,b\r\n1,\r\n", [("1", None)]),
        ('a,b\n"x, ""y""","p\nq"\n', [('x, "y"', "p\nq")]),
        ("a,b\n1,\u4f60\u597d", [("1", "\u4f60\u597d")]),
        ("a,b\n1,2\n\n3,4\n", [("1", "2"), (None, None), ("3", "4")]),
        ("a,b\n1,2\n\n\r\n\n", [("1", "2")]),
        ("a\n1\n2\n", [("1",), ("2",)]),
        ("a,b\n,\n,\n", [(None, None), (None, None)]),
        ('a,"b\nc"\n1,2\n', [("1", "2")]),
    ],
)
def test_csv_cells_stay_text(content, rows, tmp_path):
    assert rows_of(csv_of(tmp_path, content)) == rows


def test_tsv_may_hold_other_marks(tmp_path):
    path = csv_of(tmp_path, "a,1,2\tb;\nx,y,z\t1\n", "x.tsv")
    assert read_csv(path).lazy().collect_schema().names() == ["a,1,2", "b;"]


def test_unnamed_columns_get_names_and_blanks_are_cut(tmp_path):
    frame = read_csv(csv_of(tmp_path, ", a ,\n0,1,2\n")).lazy().collect()
    assert frame.columns == ["column_1", "a", "column_3"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty. Give a table with a header"),
        ("\n\n", "has no header"),
        ("a,b,a\n1,2,3\n", "line 1 of x.csv names the column 'a' twice. Rename"),
        ("a,b\n1,2\n3\n4,5\n", "line 3 of x.csv has 1 cells, the header has 2. Write a separator"),
        ("a,b\n1,2\n3,4,5\n", "line 3 of x.csv has 3 cells, the header has 2. Quote cells"),
        ('a,b\n"x\ny",2\n3\n', "line 4 of x.csv has 1 cells"),
        ('a,b\n1,2\n"3,4\n5,6\n', "line 3 of x.csv opens a quote that is never closed"),
        ('a,b\n1,"x"y\n', "line 2 of x.csv cannot be read"),
        ("a,b\r1,2\r", "carriage return alone"),
        (b"a,b\n1,2\n3,\xe9\n", r"line 3 of x.csv is not UTF-8 text \(byte 0xe9\)"),
        (b"a,b\n1,2\n3,\xe2\x82", r"line 3 of x.csv is not UTF-8 text \(byte 0xe2\)"),
        (b"a,b\n1,2\n\x003,4\n", "NUL byte in line 3"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16. Save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "NUL byte in line 1"),
    ],
)
def test_damaged_csv_names_the_line(content, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_csv(csv_of(tmp_path, content))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_lines_are_counted_over_blocks(size, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_BLOCK", size)
    good = "a,b\n\u00e9,\u4f60\n\U0001f600,z\n"
    assert rows_of(csv_of(tmp_path, good)) == [("\u00e9", "\u4f60"), ("\U0001f600", "z")]
    with pytest.raises(InputError, match=r"line 4 of x.csv is not UTF-8"):
        read_csv(csv_of(tmp_path, good.encode() + b"1,\xff\n"))
    with pytest.raises(InputError, match=r"NUL byte in line 4"):
        read_csv(csv_of(tmp_path, good.encode() + b"1,\0\n"))


def test_the_limit_of_cells_of_others_stays(tmp_path):
    import csv

    before = csv.field_size_limit()
    with pytest.raises(InputError):
        read_csv(csv_of(tmp_path, "a,b\n1\n"))
    assert csv.field_size_limit() == before


def test_parquet(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    frame = pl.DataFrame({"a": [1, None], "b": ["03", "x"]})
    frame.write_parquet(path)
    assert read_parquet(path).equals(frame)
    monkeypatch.setattr(readers, "MAX_LOADED_CELLS", 3)
    assert isinstance(read_parquet(path), pl.LazyFrame)
    monkeypatch.setattr(readers, "MAX_COLUMNS", 1)
    with pytest.raises(InputError, match=r"has 2 columns, more than 1"):
        read_parquet(path)
    for damaged in (b"", b"PAR1", path.read_bytes()[:-20], b"a,b\n1,2\n"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"not a Parquet file that can be read: .*Write it again"):
            read_parquet(path)


def test_jsonl(tmp_path):
    lines = ['{"a": 1, "b": "\\u4f60"}', "", '{"b": null, "c": [1, 2]}', '{"a": NaN}']
    path = csv_of(tmp_path, "\ufeff" + "\n".join(lines), "x.jsonl")
    assert read_jsonl(path) == {"a": [1, None, None], "b": ["\u4f60", None, None], "c": [None, [1, 2], None]}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 of x.jsonl is not JSON: .* at character 3. Mend the line"),
        ("[1]", "line 2 of x.jsonl is not a JSON object. Write {...} on each line"),
        ('{"a": 1, "a": 2}', "line 2 of x.jsonl cannot be read: it names 'a' twice"),
        ('{"a": ' + "9" * 5000 + "}", "line 2 of x.jsonl cannot be read"),
        ("[" * 100_000, "line 2 of x.jsonl cannot be read"),
        ('{"a": "\0"}', "NUL byte in line 2"),
    ],
)
def test_damaged_jsonl_names_the_line(line, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_jsonl(csv_of(tmp_path, '{"a": 1}\n' + line + "\n", "x.jsonl"))


def test_jsonl_of_too_many_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_COLUMNS", 3)
    lines = [json.dumps({f"k{number}": 1}) for number in range(4)]
    with pytest.raises(InputError, match=r"line 4 of x.jsonl brings more than 3 columns"):
        read_jsonl(csv_of(tmp_path, "\n".join(lines), "x.jsonl"))
