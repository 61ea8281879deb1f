"""No damaged file breaks a reader. What once did is kept in corpus/ and read again by every run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time

import numpy as np
import pytest
from tests.good_files import good_files
from tests.mutations import CORPUS, damaged, damaged_json, read

from omnifuse.schema import Modality

FILES = good_files()
# Ten minutes over all readers in `make test-all`; OMNIFUSE_FUZZ_S sets another time
FUZZ_S = float(os.environ.get("OMNIFUSE_FUZZ_S", "600")) / len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_good_files_are_read(name, tmp_path):
    assert read(name, FILES[name], tmp_path)


def spoilt(name, data, draw):
    """A damaged file; of JSON also one that is whole JSON still."""
    if name.endswith(".json") and draw.random() < 0.7:
        with contextlib.suppress(ValueError):
            return damaged_json(data, draw)
    return damaged(data, draw)


@pytest.mark.parametrize("name", FILES)
def test_some_damage_breaks_no_reader(name, tmp_path):
    draw = np.random.default_rng([7, *name.encode()])
    for _ in range(60):
        read(name, spoilt(name, FILES[name], draw), tmp_path)


def test_what_once_broke_a_reader_no_longer_does(tmp_path):
    for path in sorted(CORPUS.glob("*")):
        read(".".join(path.name.split(".")[:2]), path.read_bytes(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_minutes_of_damage_break_no_reader(name, tmp_path):
    draw = np.random.default_rng(int(time.time()))
    known, end = [FILES[name]], time.monotonic() + FUZZ_S
    CORPUS.mkdir(exist_ok=True)
    # What is being read lies here already, for a reader that takes the whole process with it
    at_work = CORPUS / f"{name}.at-work"
    while time.monotonic() < end:
        data = spoilt(name, known[int(draw.integers(len(known)))], draw)
        at_work.write_bytes(data)
        began = time.process_time()
        try:
            was_read = read(name, data, tmp_path)
            assert time.process_time() - began < 10, "a small file took ten seconds"
        except BaseException:
            at_work.rename(CORPUS / f"{name}.{hashlib.sha256(data).hexdigest()[:12]}")
            raise
        # Damage on damage, of what could still be read
        if was_read and draw.random() < 0.2 and len(data) < 4 * len(FILES[name]) + 64:
            known = [FILES[name], *known[-30:], data]
    at_work.unlink()


def test_a_file_that_breaks_a_reader_is_kept(tmp_path, monkeypatch):
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "CORPUS", tmp_path / "corpus")
    monkeypatch.setattr(module, "FUZZ_S", 5.0)
    monkeypatch.setattr(module, "read", lambda name, data, folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        test_minutes_of_damage_break_no_reader("cell.text", tmp_path)
    (kept,) = (tmp_path / "corpus").iterdir()
    assert kept.name.startswith("cell.text.")
    assert kept.read_bytes() != FILES["cell.text"]


def test_every_reader_is_fuzzed():
    """Each modality, each format of the tables, and what a model folder holds."""
    kinds = {name.split(".")[0] for name in FILES} | {name.split(".")[1] for name in FILES if name.startswith("cell.")}
    assert {item.value for item in Modality} - {"category"} <= kinds
    assert {name.split(".")[1] for name in FILES if name.startswith("model.")} == {"json", "safetensors"}
