"""One face for files, frames, lists and folders."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from omnifuse.data import readers
from omnifuse.data.tables import Table, missing_to_none, open_table
from omnifuse.errors import InputError

ROWS = [{"name": "Ann", "age": 30, "town": "Rome"}, {"name": "Bob", "age": None, "town": ""}]


def write_as(kind, folder):
    """The same two rows in every form that can be opened; from text files every cell is text."""
    if kind == "list":
        return ROWS
    if kind == "polars":
        return pl.DataFrame(ROWS)
    if kind == "lazy":
        return pl.DataFrame(ROWS).lazy()
    if kind == "pandas":
        return pd.DataFrame(ROWS)
    path = folder / f"people.{kind}"
    frame = pl.DataFrame(ROWS)
    if kind == "csv":
        frame.write_csv(path)
    elif kind in ("tsv", "tab"):
        frame.write_csv(path, separator="\t")
    elif kind == "txt":
        frame.write_csv(path, separator=";")
    elif kind in ("parquet", "pq"):
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)
    return path


FORMS = ["list", "polars", "lazy", "pandas", "csv", "tsv", "tab", "txt", "parquet", "pq", "jsonl", "ndjson"]


@pytest.mark.parametrize("kind", FORMS)
def test_every_form_gives_the_same_table(kind, tmp_path):
    table = open_table(write_as(kind, tmp_path))
    assert table.columns == ("name", "age", "town")
    assert table.num_rows == 2
    assert table.cells("name") == ["Ann", "Bob"]
    assert table.cells("town") == ["Rome", None]
    first, second = table.cells("age")
    assert second is None
    assert float(first) == 30
    assert table.cells("name", np.array([1, 0, 1])) == ["Bob", "Ann", "Bob"]
    assert table.head(1).cells("name") == ["Ann"]
    chosen = table.select(np.array([1, 0]))
    assert (chosen.num_rows, chosen.cells("name")) == (2, ["Bob", "Ann"])
    assert [piece.cells("name") for piece in table.batches(1)] == [["Ann"], ["Bob"]]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_scanned_file_answers_like_a_loaded_one(kind, tmp_path, monkeypatch):
    count = 1000
    path = tmp_path / f"x.{kind}"
    frame = pl.DataFrame({"n": [f"{i}" for i in range(count)], "text": [f'row "{i}",\nnext' for i in range(count)]})
    frame.write_csv(path) if kind == "csv" else frame.write_parquet(path)
    loaded = open_table(path)
    monkeypatch.setattr(readers, "MAX_LOADED_BYTES", 0)
    scanned = open_table(path)
    assert isinstance(loaded.frame, pl.DataFrame)
    assert isinstance(scanned.frame, pl.LazyFrame)
    rows = np.array([999, 3, 3, 0, 500])
    for table in (loaded, scanned):
        assert table.num_rows == count
        assert table.cells("n", rows) == ["999", "3", "3", "0", "500"]
        assert table.cells("text", rows)[1] == 'row "3",\nnext'
        assert table.select(rows).cells("n") == table.cells("n", rows)
        assert table.select(np.array([], dtype=np.int64)).num_rows == 0
        assert table.head(5).num_rows == 5
    assert loaded.fingerprint() == scanned.fingerprint()
    pieces = list(scanned.batches(300))
    assert [piece.num_rows for piece in pieces] == [300, 300, 300, 100]
    assert [cell for piece in pieces for cell in piece.cells("n")] == loaded.cells("n")
    with pytest.raises(IndexError, match=r"rows 0 to 1000 of a table of 1000"):
        scanned.cells("n", np.array([0, 1000]))


def test_cells_that_no_frame_holds_stay_as_they_are():
    picture, sound = Image.new("RGB", (4, 4)), (np.zeros(10, np.float32), 8000)
    rows = [{"image": picture, "sound": sound, "mixed": 1}, {"image": None, "sound": b"RIFF", "mixed": "a"}]
    table = open_table(rows)
    assert table.cells("image")[0] is picture
    assert table.cells("sound")[0] is sound
    assert table.cells("mixed") == [1, "a"]
    assert table.select(np.array([1])).cells("sound") == [b"RIFF"]
    assert [piece.num_rows for piece in table.batches(1)] == [1, 1]
    only = open_table([{"image": picture}, {"image": None}, {"image": picture}])
    assert only.select(np.array([2, 0])).num_rows == 2
    assert only.head(1).cells("image") == [picture]


def test_fingerprint_is_that_of_the_content():
    def of(value):
        return open_table([{"a": value, "b": "x"}]).fingerprint()

    big = np.zeros(5000)
    other = big.copy()
    other[2500] = 1
    assert of(1) == of(1)
    assert of(1) != of(2)
    assert of("ab") != of("a")
    assert of(big) != of(other)
    assert of((big, 8000)) != of((other, 8000))
    assert of(Image.new("L", (3, 3))) == of(Image.new("L", (3, 3)))
    assert of(Image.new("L", (3, 3))) != of(Image.new("L", (3, 3), 9))


@pytest.mark.parametrize("cell", [None, "", " \t", float("nan"), np.float32("nan"), pd.NaT, pd.NA])
def test_missing_cells(cell):
    assert missing_to_none(cell) is None


@pytest.mark.parametrize("cell", [0, False, "0", "nan", np.int64(0), datetime.date(2020, 1, 1)])
def test_cells_that_are_not_missing(cell):
    assert missing_to_none(cell) is cell


def test_names_that_are_no_texts_are_kept_with_their_cells():
    assert open_table([{0: "a"}, {0: "b"}]).cells("0") == ["a", "b"]
    assert open_table(pd.DataFrame([[1, 2], [3, 4]])).cells("1") == [2, 4]


@pytest.mark.parametrize("source", [[{1: "a", "1": "b"}], pd.DataFrame([[1, 2]], columns=[1, "1"])])
def test_names_that_become_equal_are_refused(source):
    with pytest.raises(InputError, match=r"two columns are named '1'. Rename one of them"):
        open_table(source)


def test_pandas_columns_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"two columns are named 'a'"):
        open_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_pandas_types():
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2020-01-01", None]),
            "kind": pd.Categorical(["a", None]),
            "count": pd.array([1, None], dtype="Int64"),
            "text": ["x", None],
        }
    )
    table = open_table(frame)
    assert [table.cells(name)[1] for name in table.columns] == [None] * 4
    assert table.cells("count")[0] == 1
    assert table.cells("kind")[0] == "a"


def test_polars_types():
    frame = pl.DataFrame(
        {"d": [datetime.date(2020, 1, 1)], "l": [[1, 2]], "b": [b"x"], "c": pl.Series(["u"], dtype=pl.Categorical)}
    )
    table = open_table(frame)
    assert [table.cells(name)[0] for name in "dlbc"] == [datetime.date(2020, 1, 1), [1, 2], b"x", "u"]


def test_lone_surrogates_are_kept():
    assert open_table([{"a": "x\ud800"}]).cells("a") == ["x\ud800"]
    assert len(open_table([{"a": "x\ud800"}]).fingerprint()) == 64


def test_table_of_a_table_and_root(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    table = open_table(tmp_path / "x.csv")
    assert table.root == tmp_path.resolve()
    assert open_table(table) is table
    assert open_table(table, media_root=tmp_path / "y").root == tmp_path / "y"
    assert open_table(str(tmp_path / "x.csv"), media_root=tmp_path).root == tmp_path
    assert open_table(ROWS).root is None


def test_unknown_column_is_named():
    with pytest.raises(InputError, match=r"no column 'naxme' in <memory>. did you mean 'name'"):
        open_table(ROWS).cells("naxme")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (7, "a int is not a table. Give a path"),
        ([], "<memory> has no rows"),
        ([{}], "<memory> has no rows"),
        (pl.DataFrame({"a": []}), "has no rows"),
        ([{"a": 1}, 5], "row 2 of the list is a int, not a dict"),
    ],
)
def test_what_is_no_table(source, words):
    with pytest.raises(InputError, match=words):
        open_table(source)


def test_absent_path_suggests_the_near_one(tmp_path):
    (tmp_path / "train.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"no file or folder .*trayn.csv'. did you mean 'train.csv'"):
        open_table(tmp_path / "trayn.csv")
    with pytest.raises(InputError, match=r"Check the path"):
        open_table(tmp_path / "nowhere" / "x.csv")


def test_other_endings_are_refused(tmp_path):
    for name, words in [
        ("a.docx", "not a table that can be read. Give .csv"),
        ("a.xlsx", "spreadsheet. Save the sheet"),
    ]:
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError, match=words):
            open_table(tmp_path / name)


def test_parts_of_a_folder(tmp_path):
    for part in ("train", "val", "test"):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            Image.new("L", (8, 8)).save(tmp_path / part / label / "1.png")
    table = open_table(tmp_path)
    assert isinstance(table, Table)
    assert set(table.parts) == {"dev", "test"}
    assert table.cells("label") == ["cat", "dog"]
    assert table.parts["dev"].cells("image") == ["val/cat/1.png", "val/dog/1.png"]
    assert table.parts["dev"].root == tmp_path
