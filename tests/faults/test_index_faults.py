"""Indexes that are cut, changed, killed, of another model, or written by two: refused or whole, never wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from omnifuse.errors import ArtefactError, InputError
from omnifuse.search import Index
from omnifuse.search.manifest import FILE

WRITER = """
import os, signal, sys
import numpy as np
from omnifuse.search import Index
index = Index.open(sys.argv[1])
number = 0
calls = 0
def counted(wrapped):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return wrapped(*arguments, **options)
    return call
os.fsync = counted(os.fsync)
os.replace = counted(os.replace)
import pathlib
pathlib.Path.replace = counted(pathlib.Path.replace)
while number < 6:
    rows = [f"{number}-{row}" for row in range(3)]
    if number == 4:
        index.delete(["0-1"])
    index.add(rows, np.eye(4)[:3] + number, {"n": [number] * 3})
    print(number, flush=True)
    number += 1
"""


def make(folder, rows=9):
    index = Index.create(folder, {"embedding": 4}, model_id="aaaa")
    draw = np.random.default_rng(0)
    for start in range(0, rows, 3):
        index.add(range(start, start + 3), draw.normal(size=(3, 4)), {"n": [1, 2, 3]})
    index.delete([1])
    return index


@pytest.mark.parametrize("kill_at", [1, 2, 3, 4, 5, 8, 13, 21, 24, 27])
def test_t31_index_kill_9_loses_nothing_that_was_acknowledged(tmp_path, kill_at):
    folder = tmp_path / "idx"
    Index.create(folder, {"embedding": 4})
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(folder), str(kill_at)], capture_output=True, text=True, timeout=120
    )
    acknowledged = [int(line) for line in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL, done.stderr
    index = Index.open(folder)
    ids = set(index.ids)
    assert {f"{number}-2" for number in acknowledged} <= ids
    # The change that was under way is there as a whole or not at all
    groups = {name.split("-")[0] for name in ids}
    assert ids | {"0-1"} == {f"{number}-{row}" for number in groups for row in range(3)} | {"0-1"}
    assert len(groups) <= len(acknowledged) + 1
    assert "0-1" in ids or len(acknowledged) in (0, 4, 5)
    # The next change removes what the dead one left
    index.add(["more"], np.ones((1, 4)))
    assert {path.name for path in folder.iterdir()} == index.manifest.file_names | {FILE, ".lock"}
    assert "more" in {hit.id for hit in Index.open(folder).search(np.ones(4), 100)}


@pytest.mark.parametrize("suffix", [".arrow", ".vectors", ".bits", FILE])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "longer"])
def test_t28_index_damaged_files_are_refused(tmp_path, suffix, damage):
    make(tmp_path / "idx")
    path = next(item for item in sorted((tmp_path / "idx").iterdir()) if item.name.endswith(suffix))
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "longer":
        path.write_bytes(content + b"\0")
    else:
        content[len(content) // 3] ^= 4
        path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"damaged|lacks its file|holds no index"):
        Index.open(tmp_path / "idx")


def test_every_flipped_byte_of_the_document_is_seen(tmp_path):
    make(tmp_path / "idx", rows=3)
    path = tmp_path / "idx" / FILE
    content = path.read_bytes()
    whole = json.loads(content)
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            Index.open(tmp_path / "idx")
        except ArtefactError:
            continue
        assert json.loads(path.read_bytes()) == whole  # white space


def test_a_damaged_segment_is_named(tmp_path):
    index = make(tmp_path / "idx")
    name = index.manifest.segments[1].vectors["embedding"].name
    (tmp_path / "idx" / name).write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"has 0 bytes, 48 were written. It holds rows 4 to 6"):
        Index.open(tmp_path / "idx")


def test_another_version_and_no_index(tmp_path):
    with pytest.raises(ArtefactError, match="holds no index"):
        Index.open(tmp_path)
    make(tmp_path / "idx")
    path = tmp_path / "idx" / FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 9}))
    with pytest.raises(ArtefactError, match="format 9, this omnifuse reads 1"):
        Index.open(tmp_path / "idx")
    path.write_text("[" * 100_000)
    with pytest.raises(ArtefactError, match="damaged, or no index"):
        Index.open(tmp_path / "idx")


def test_vectors_and_questions_of_another_model_are_refused_by_name(tmp_path):
    index = make(tmp_path / "idx")
    for call in (lambda: index.search(np.ones(4), model_id="bbbb"), lambda: index.add(["x"], [[1, 1, 1, 1]],
                                                                                      model_id="bbbb")):  # fmt: skip
        with pytest.raises(InputError, match="of model aaaa, this is model bbbb"):
            call()
    assert index.search(np.ones(4), 1, model_id="aaaa")


def test_t43_index_two_writers_lose_nothing(tmp_path):
    folder = tmp_path / "idx"
    Index.create(folder, {"embedding": 4})

    def write(name):
        index = Index.open(folder)
        for number in range(8):
            index.add([f"{name}{number}"], np.ones((1, 4)))

    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(Index.open(folder).ids) == sorted(f"{name}{number}" for name in "abc" for number in range(8))


PROCESS = """
import sys, time
import numpy as np
from omnifuse.search import Index
folder, name = sys.argv[1:]
index = Index.open(folder)
print("open", flush=True)
sys.stdin.readline()
for number in range(4):
    index.add([f"{name}{number}", f"{name}{number}-gone"], np.ones((2, 4)), {"writer": [name] * 2})
    index.delete([f"{name}{number}-gone"])
"""


def test_t43_index_two_writing_processes_lose_nothing(tmp_path):
    folder = tmp_path / "idx"
    Index.create(folder, {"embedding": 4})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", PROCESS, str(folder), name], **pipes) for name in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == "open\n", writer.stderr.read()
    for writer in writers:  # both go on at once
        writer.stdin.write("\n")
        writer.stdin.flush()
    seen = Index.open(folder)
    while any(writer.poll() is None for writer in writers):  # a reader meanwhile: always a whole index
        seen.refresh()
        assert len(seen.search(np.ones(4), 100)) == len(seen)
        assert Index.open(folder).manifest.serial >= seen.manifest.serial
    for writer in writers:
        assert writer.communicate()[1] == ""
        assert writer.returncode == 0
    index = Index.open(folder)
    assert sorted(index.ids) == sorted(f"{name}{number}" for name in "ab" for number in range(4))
    assert index.count("writer == 'a'") == 4
    assert index.manifest.serial == 16
    assert {path.name for path in folder.iterdir()} == index.manifest.file_names | {FILE, ".lock"}


@pytest.mark.skipif(os.name != "posix", reason="locks of the system")
def test_t43_index_a_writer_that_does_not_end_is_named(tmp_path, monkeypatch):
    from omnifuse.deploy.locking import held

    monkeypatch.setattr("omnifuse.search.writing._WAIT_S", 0.05)
    index = make(tmp_path / "idx")
    before = len(index)
    with held(tmp_path / "idx" / ".lock", wait_s=0, what="", fix=""), pytest.raises(
        InputError, match=rf"another process writes into the index .* process {os.getpid()}"
    ):  # fmt: skip
        index.add(["x"], np.ones((1, 4)))
    assert len(Index.open(Path(index.folder))) == before
