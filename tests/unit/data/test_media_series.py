"""Series through the media door: every form of the same series gives the same numbers."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.media_series import RawSeries
from omnifuse.errors import MediaError

TIMES = [0.0, 1.5, 2.0, 10.0]
HEAT, GAS = [20.0, 21.5, None, 22.0], [400.0, None, 410.0, 420.0]
TRUTH = np.array([[20, 400], [21.5, np.nan], [np.nan, 410], [22, 420]])
FRAME = pl.DataFrame({"time": TIMES, "heat": HEAT, "gas": GAS})


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


ROWS = [[one, two] for one, two in zip(HEAT, GAS, strict=True)]
UNTIMED = {
    "array": TRUTH,
    "rows": ROWS,
    "tuples": tuple(map(tuple, ROWS)),
    "texts": [["" if cell is None else f" {cell} " for cell in row] for row in ROWS],
    "json": json.dumps(ROWS),
    "npy": saved(TRUTH),
    "fortran": saved(np.asfortranarray(TRUTH)),
    "csv": "\n".join(",".join("NA" if cell is None else str(cell) for cell in row) for row in ROWS).encode(),
}
NAMED = {
    "dict": {"time": TIMES, "heat": HEAT, "gas": GAS},
    "values": {"time": TIMES, "values": ROWS, "channels": ["heat", "gas"]},
    "json": json.dumps({"time": TIMES, "heat": HEAT, "gas": GAS}),
    "json bytes": json.dumps({"time": TIMES, "heat": HEAT, "gas": GAS}).encode(),
    "csv": FRAME.write_csv().encode(),
    "mark": b"\xef\xbb\xbf" + FRAME.write_csv().encode(),
    "tsv": FRAME.write_csv(separator="\t").encode(),
    "semicolons": FRAME.write_csv(separator=";").replace(".", ",").encode(),
    "parquet": parquet(FRAME),
}


@pytest.mark.parametrize("form", UNTIMED)
def test_forms_without_times(form):
    found = MediaDoor().series(UNTIMED[form])
    np.testing.assert_array_equal(found.values, TRUTH)
    assert (found.times, found.channels) == (None, ())


@pytest.mark.parametrize("form", NAMED)
def test_forms_with_times_and_names(form):
    remarks = []
    found = MediaDoor().series(NAMED[form], remarks=remarks)
    np.testing.assert_array_equal(found.values, TRUTH)
    np.testing.assert_array_equal(found.times, TIMES)
    assert found.channels == ("heat", "gas")
    assert remarks == []


@pytest.mark.parametrize("name", ["one.csv", "one.npy", "one.parquet", "wrongly_named.npy"])
def test_files_are_read_by_their_content(tmp_path, name):
    data = {"one.npy": UNTIMED["npy"], "one.parquet": NAMED["parquet"]}.get(name, NAMED["csv"])
    (tmp_path / name).write_bytes(data)
    for cell in (name, Path(name)):
        found = MediaDoor(root=tmp_path, confined=True).series(cell)
        np.testing.assert_array_equal(found.values, TRUTH)


def test_one_channel_and_whole_numbers():
    for cell in ([1, 2, 3], np.array([1, 2, 3], np.int16), "[1, 2, 3]", b"1\n2\n3\n", b"x\n1\n2\n3\n"):
        assert MediaDoor().series(cell).values.tolist() == [[1], [2], [3]]


def test_dates_in_the_first_column_are_times():
    text = b"when,heat\n2024-01-01 10:00:00.5,1\n2024-01-01 10:00:02,2\n"
    found = MediaDoor().series(text)
    assert np.diff(found.times).tolist() == [1.5]
    assert found.channels == ("heat",)
    assert MediaDoor().series(text.split(b"\n", 1)[1]).values.tolist() == [[1], [2]]


def test_what_is_no_number_is_counted_and_columns_without_numbers_are_named():
    remarks = []
    found = MediaDoor().series(b"time,heat,place\n0,20,hall\n1,hot,hall\n2,,hall\n3,inf,hall\n", remarks=remarks)
    assert found.channels == ("heat",)
    np.testing.assert_array_equal(found.values[:, 0], [20, np.nan, np.nan, np.nan])
    assert remarks == [
        "2 of 4 values are no numbers and count as not observed",
        "the column 'place' holds no number and is left out",
    ]
    MediaDoor().series(np.array([1.0, np.inf, np.nan]), remarks=remarks)
    assert remarks[-1] == "1 of 3 values are no numbers and count as not observed"


REFUSED = {
    "empty": (b"", "empty"),
    "no steps": ([], "has no steps"),
    "no number": ([None, float("nan")], "holds no number"),
    "three dimensions": (np.zeros((2, 3, 4)), r"array of float64 \(2, 3, 4\), expected numbers"),
    "texts": (np.array(["a"]), "expected numbers"),
    "ragged": ([[1, 2], [3]], "Step 2 of the series has 1 values, the first has 2"),
    "mixed": ([[1, 2], 3], "Step 2 of the series has 1 values"),
    "deep": ([[[1]]], "nested deeper"),
    "deep text": ("[" * 100_000, "is no JSON"),
    "broken text": ("[1, 2", "is no JSON"),
    "times": ({"time": [1, 2], "x": [1, 2, 3]}, "2 times and 3 steps"),
    "one time": ({"time": 1, "x": [1]}, "is no list"),
    "lengths": ({"x": [1], "y": [1, 2]}, "not lists of one length"),
    "names": ({"values": [[1, 2]], "channels": ["x"]}, "names 1 channels and holds 2"),
    "number": (7, "cell of type int"),
    "pickle": (pickle.dumps([1, 2]), "not NPY, CSV"),
    "zip": (b"PK\x03\x04abc", "not NPY, CSV"),
    "picture": (b"\x89PNG\r\n", "not NPY, CSV"),
    "latin": ("caf\xe9,1\n".encode("latin-1"), "not UTF-8"),
    "ragged file": (b"a,b\n1,2\n3,4,5\n", "cannot be read"),
    "two names": (b"a,a\n1,2\n", "same name"),
    "cut npy": (UNTIMED["npy"][:-9], "NPY file is damaged"),
    "npy head": (b"\x93NUMPY\x01\x00\xff\xff", "NPY file is damaged"),
    "cut parquet": (NAMED["parquet"][:-9], "Parquet file is damaged"),
    "address": ("https://example.org/a.csv", "not opened"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name):
    cell, words = REFUSED[name]
    with pytest.raises(MediaError, match=words):
        MediaDoor().series(cell)


def test_objects_in_npy_are_refused_and_never_run():
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], object), allow_pickle=True)
    with pytest.raises(MediaError, match="holds object, not numbers"):
        MediaDoor().series(buffer.getvalue())


def test_budgets_hold_whatever_a_header_says(tmp_path):
    small = MediaDoor(root=tmp_path, limits=MediaLimits(max_series_bytes=800))
    forged = bytearray(saved(np.zeros(4)))
    forged[:128] = forged[:128].replace(b"(4,), }       ", b"(4000000000,)}")
    for cell in (np.zeros(101), [0.0] * 101, saved(np.zeros(101)), bytes(forged), parquet(FRAME.clear(n=500))):
        with pytest.raises(MediaError, match=r"at most|unpacks to too much"):
            small.series(cell)
    (tmp_path / "large.csv").write_text("1\n" * 500)
    with pytest.raises(MediaError, match="at most 0 MB are read"):
        small.series("large.csv")
    with pytest.raises(MediaError, match="channels, at most 1024"):
        MediaDoor().series(np.zeros((2, 1025)))
    with pytest.raises(MediaError, match="outside the folder"):
        MediaDoor(root=tmp_path / "in", confined=True).series("../large.csv")


def test_a_decoded_series_passes():
    raw = RawSeries(np.ones((2, 1)))
    assert MediaDoor().series(raw) is raw
    assert str(raw) == "2 steps of 1 channels"
