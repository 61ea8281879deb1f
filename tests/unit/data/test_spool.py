"""JSONL files too large to be held: the same table as a loaded one, in little memory, nothing left behind."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from omnifuse.data import readers, spool
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError

# Every kind of column that JSON can hold, with holes; names and types that come late
COLUMNS = {
    "text": ["a", None, "", " ", '\u4f60\n"x"'],
    "whole": [1, 2, None, -3, 4],
    "wide": [2**63, None, 1, 2, 3],
    "wider": [2**63, -1, None, 2, 3],
    "widest": [1, 2**70, None, 2, 3],
    "real": [0.5, math.inf, None, -1e300, 0.1],
    "real first": [0.5, 1, None, 2, 3],
    "whole first": [1, 0.5, None, 2, 3],
    "flag": [True, None, False, True, True],
    "flag first": [True, 1, 2.5, None, 3],
    "flag last": [1, 2, None, 3, True],
    "mixed": ["1", 1, None, True, 2.5],
    "list": [[1, "a", None], None, [], [[0.5]], [1]],
    "medium": [{"path": "a.png", "size": {"w": 1}}, None, {}, "b.png", {"path": None}],
    "surrogate": ["x\ud800", "y", None, "z", ""],
    "empty": [None] * 5,
    "late": [None, None, None, None, "here"],
}


def rows_of(count: int = 5) -> list[dict]:
    rows = [dict(zip(COLUMNS, cells, strict=True)) for cells in zip(*COLUMNS.values(), strict=True)]
    for row in rows[:4]:
        del row["late"]
    return [rows[min(number, number % 4 if number < count - 1 else 4)] for number in range(count)]


def written(path: Path, rows: list[dict]) -> Path:
    # json writes an infinite number as a word that JSON does not have
    path.write_text("\n".join(json.dumps(row) for row in rows).replace("Infinity", "1e999") + "\n\n", encoding="utf-8")
    return path


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, empty at first."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def both(path: Path, monkeypatch) -> tuple:
    loaded = open_table(path)
    monkeypatch.setattr(readers, "MAX_LOADED_BYTES", 0)
    return loaded, open_table(path)


def typed(cells: list) -> list:
    return [(type(cell), cell) for cell in cells]


@pytest.mark.parametrize("piece", [1, 2, 1024])
def test_a_spooled_file_answers_like_a_loaded_one(piece, tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(spool, "_PIECE_ROWS", piece)
    loaded, scanned = both(written(tmp_path / "x.jsonl", rows_of()), monkeypatch)
    assert isinstance(loaded.frame, pl.DataFrame)
    assert isinstance(scanned.frame, pl.LazyFrame)
    assert scanned.columns == loaded.columns == tuple(COLUMNS)
    assert (scanned.name, scanned.root, scanned.num_rows) == (loaded.name, loaded.root, 5)
    order = np.array([4, 0, 0, 2])
    for name in COLUMNS:
        assert typed(scanned.cells(name)) == typed(loaded.cells(name)), name
        assert typed(scanned.cells(name, order)) == typed(loaded.cells(name, order)), name
        assert typed(scanned.select(order).cells(name)) == typed(loaded.cells(name, order)), name
        assert typed(scanned.head(2).cells(name)) == typed(loaded.cells(name)[:2]), name
        pieces = [cell for part in scanned.batches(2) for cell in part.cells(name)]
        assert typed(pieces) == typed(loaded.cells(name)), name
    assert scanned.fingerprint() == loaded.fingerprint()


def test_chunks_of_a_spooled_file_are_whole(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(spool, "_PIECE_ROWS", 70)
    path = written(tmp_path / "x.ndjson", [{"n": number, "tags": [number]} for number in range(1000)])
    _, table = both(path, monkeypatch)
    parts = list(table.batches(300))
    assert [part.num_rows for part in parts] == [300, 300, 300, 100]
    assert [cell for part in parts for cell in part.cells("tags")] == [[number] for number in range(1000)]


def test_the_temporary_file_goes_with_the_last_who_needs_it(tmp_path, temporary, monkeypatch):
    _, table = both(written(tmp_path / "x.jsonl", rows_of()), monkeypatch)
    assert len(list(temporary.iterdir())) == 1
    batches = table.batches(2)
    first = next(batches)
    del table
    gc.collect()
    assert sum(part.num_rows for part in (first, *batches)) == 5
    del batches, first
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_the_temporary_file_goes_with_the_process(tmp_path, temporary):
    path = written(tmp_path / "x.jsonl", rows_of())
    code = (
        "import sys, tempfile; from omnifuse.data import readers; readers.MAX_LOADED_BYTES = 0\n"
        "from omnifuse.data.tables import open_table\n"
        "tempfile.tempdir = sys.argv[2]; table = open_table(sys.argv[1]); import os\n"
        "print(len(os.listdir(sys.argv[2])))"
    )
    done = subprocess.run([sys.executable, "-c", code, path, temporary], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert list(temporary.iterdir()) == []


def test_damage_is_named_and_leaves_nothing(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(readers, "MAX_LOADED_BYTES", 0)
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": 2')
    with pytest.raises(InputError, match=r"line 2 of x.jsonl is not JSON"):
        open_table(path)
    path.write_text("\n\n")
    with pytest.raises(InputError, match=r"x.jsonl has no rows"):
        open_table(path)
    monkeypatch.setattr(readers, "MAX_COLUMNS", 1)
    path.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(InputError, match=r"line 2 of x.jsonl brings more than 1 columns"):
        open_table(path)
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_without_room_is_named(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(readers, "MAX_LOADED_BYTES", 0)

    def full(pieces, out):
        out.write_bytes(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_write", full)
    path = written(tmp_path / "x.jsonl", rows_of())
    with pytest.raises(InputError, match=r"x.jsonl cannot be laid out in .*: No space left on device. Set TMPDIR"):
        open_table(path)
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_names_that_cannot_be_written_are_loaded(tmp_path, temporary, monkeypatch):
    _, table = both(written(tmp_path / "x.jsonl", [{"\ud800": 1}]), monkeypatch)
    assert table.cells("\ud800") == [1]
    assert list(temporary.iterdir()) == []


MEASURED = """
import sys
from pathlib import Path
from omnifuse.data import readers
from omnifuse.data.tables import open_table
readers.MAX_LOADED_BYTES = int(sys.argv[1])
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
def read(path):
    return sum(len(part.cells("medium")) for part in open_table(path).batches(512))
read(sys.argv[2])
before = peak()
print(read(sys.argv[3]), peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_is_bounded(tmp_path, temporary):
    """A file of 28 MB costs hardly more than one of 7 MB; the same measure finds that loaded files are held."""
    paths = [tmp_path / "small.jsonl", tmp_path / "medium.jsonl", tmp_path / "large.jsonl"]
    counts = (1000, 5000, 20_000)
    for path, count in zip(paths, counts, strict=True):
        with path.open("w", encoding="utf-8") as handle:
            for number in range(count):
                row = {"note": f"{number} " * 240, "medium": {"path": f"{number}.png"}, "n": number}
                handle.write(json.dumps(row) + "\n")
    growth = {}
    for limit in (0, 2**30):
        for path, count in zip(paths[1:], counts[1:], strict=True):
            command = [sys.executable, "-c", MEASURED, str(limit), paths[0], path]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
            assert int(done.stdout.split()[0]) == count
            growth[limit, count] = float(done.stdout.split()[1])
    size = (paths[2].stat().st_size - paths[1].stat().st_size) / 2**20
    held, passed = (growth[limit, 20_000] - growth[limit, 5000] for limit in (2**30, 0))
    assert held > 1.5 * size > 30, "the measure finds nothing"
    assert passed < held / 2
