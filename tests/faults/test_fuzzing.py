"""T40 and its kin: no damaged file breaks a reader. What once did is kept in corpus/ and read again by every run."""

from __future__ import annotations

import hashlib
import os
import time

import numpy as np
import pytest
from tests.mutations import CORPUS, damaged, good_files, read

FILES = good_files()
# Ten minutes over all readers in `make test-all`; OMNIFUSE_FUZZ_S sets another time
FUZZ_S = float(os.environ.get("OMNIFUSE_FUZZ_S", "600")) / len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_good_files_are_read(name, tmp_path):
    read(name, FILES[name], tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_some_damage_breaks_no_reader(name, tmp_path):
    draw = np.random.default_rng([7, *name.encode()])
    for _ in range(60):
        read(name, damaged(FILES[name], draw), tmp_path)


def test_what_once_broke_a_reader_no_longer_does(tmp_path):
    for path in sorted(CORPUS.glob("*")):
        read(".".join(path.name.split(".")[:2]), path.read_bytes(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_minutes_of_damage_break_no_reader(name, tmp_path):
    draw = np.random.default_rng(int(time.time()))
    known, end = [FILES[name]], time.monotonic() + FUZZ_S
    while time.monotonic() < end:
        data = damaged(known[int(draw.integers(len(known)))], draw)
        began = time.monotonic()
        try:
            read(name, data, tmp_path)
        except BaseException:
            CORPUS.mkdir(exist_ok=True)
            (CORPUS / f"{name}.{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            raise
        assert time.monotonic() - began < 10, "a small file took ten seconds"
        # Damage on damage, of files that are not too far from good ones
        if draw.random() < 0.05 and len(data) < 4 * len(FILES[name]) + 64:
            known = [*known[-30:], data]
