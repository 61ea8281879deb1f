"""The folder of decoded media: what was put is found, what is damaged or foreign is absent."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from omnifuse.data import cache as cache_module
from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.cache import MediaCache
from omnifuse.data.decoded import DecodedMedium
from omnifuse.data.image import ImagePreprocessor

KEY = "ab" * 32
SMALL, LARGE = ImagePreprocessor(16, 16), ImagePreprocessor(32, 32)
ARRAYS = {"pixels": np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3)}


def same(got, expected):
    assert got is not None
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


def test_what_was_put_is_found_again_by_another_process(tmp_path):
    MediaCache(tmp_path).put(KEY, SMALL, ARRAYS)
    same(MediaCache(tmp_path).get(KEY, ImagePreprocessor(16, 16)), ARRAYS)


def test_key_and_preprocessor_tell_entries_apart(tmp_path):
    cache = MediaCache(tmp_path)
    cache.put(KEY, SMALL, ARRAYS)
    assert cache.get("cd" * 32, SMALL) is None
    assert cache.get(KEY, LARGE) is None
    assert cache.get(KEY, ImagePreprocessor(16, 16, "crop")) is None
    assert cache.get(KEY, AudioPreprocessor()) is None


def test_another_version_of_the_decoder_finds_nothing(tmp_path, monkeypatch):
    MediaCache(tmp_path).put(KEY, SMALL, ARRAYS)
    monkeypatch.setattr(cache_module, "_VERSION", cache_module._VERSION + 1)
    assert MediaCache(tmp_path).get(KEY, SMALL) is None


def test_preprocessor_of_the_same_address_is_not_taken_for_an_older_one(tmp_path):
    cache = MediaCache(tmp_path)
    for side in range(16, 80):
        # Python gives the memory of a dead object, and so its id, to the next one
        assert cache.get(KEY, ImagePreprocessor(side, side)) is None
        cache.put(KEY, ImagePreprocessor(side, side), {"pixels": np.full((1, side, side, 3), side, np.uint8)})
    for side in range(16, 80):
        same(cache.get(KEY, ImagePreprocessor(side, side)), {"pixels": np.full((1, side, side, 3), side, np.uint8)})


def entry(folder: Path) -> Path:
    (path,) = (item for item in folder.rglob("*") if item.is_file())
    return path


def test_every_cut_and_flipped_bit_counts_as_absent(tmp_path):
    cache = MediaCache(tmp_path)
    arrays = {"log_mel": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)}
    cache.put(KEY, SMALL, arrays)
    path = entry(tmp_path)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert cache.get(KEY, SMALL) is None
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        got = cache.get(KEY, SMALL)
        assert got is None or (at < 8 and np.array_equal(next(iter(got.values())), arrays["log_mel"]))
    for foreign in (b"", b"\n", b"x" * 1000, b"\xff\xfe 1\n", b"name notanumber\nxx", b"name 0\n"):
        path.write_bytes(foreign)
        assert cache.get(KEY, SMALL) is None
    cache.put(KEY, SMALL, arrays)
    same(cache.get(KEY, SMALL), arrays)


def test_objects_are_never_unpickled(tmp_path):
    cache = MediaCache(tmp_path)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        cache.put(KEY, SMALL, {"pixels": np.array([None])})
    assert cache.get(KEY, SMALL) is None


def test_several_arrays_are_kept_in_their_order(tmp_path):
    cache = MediaCache(tmp_path)
    more = {**ARRAYS, "more": np.arange(3, dtype=np.float32), "none": np.zeros((0, 2), np.uint8)}
    cache.put(KEY, SMALL, DecodedMedium(more, [("cut_media", "only the first 2 s are used")]))
    found = cache.get(KEY, SMALL)
    assert list(found) == list(more)
    for name, array in more.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert found.remarks == (("cut_media", "only the first 2 s are used"),)


def test_t33_disk_that_cannot_be_written_is_no_reason_to_stop(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    blocked = MediaCache(tmp_path / "file")
    blocked.put(KEY, SMALL, ARRAYS)
    assert blocked.get(KEY, SMALL) is None

    def full(self, target):
        raise OSError(28, "No space left on device")

    cache = MediaCache(tmp_path / "cache")
    monkeypatch.setattr(Path, "replace", full)
    cache.put(KEY, SMALL, ARRAYS)
    assert cache.get(KEY, SMALL) is None
    assert [item for item in (tmp_path / "cache").rglob("*") if item.is_file()] == []


def test_many_writers_of_one_entry_leave_a_whole_one(tmp_path):
    caches = [MediaCache(tmp_path) for _ in range(8)]
    seen = []

    def write(cache):
        for _ in range(20):
            cache.put(KEY, SMALL, ARRAYS)
            seen.append(cache.get(KEY, SMALL))

    threads = [threading.Thread(target=write, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 160
    for got in seen:
        same(got, ARRAYS)
    assert entry(tmp_path).suffix == ".npy"
