"""Features on disk: never met again after a change, whole or absent, bounded, and shared by runs at once."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from omnifuse.data.feature_cache import FeatureCache

ARRAYS = {"pixels": np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3), "time_s": np.ones(1, np.float32)}
SAID = {"kind": "pretrained-image", "backbone": {"weights": "a" * 64}, "framing": {"filter": 2}}


def _key(said=SAID, dtype="<f4", **changes):
    return FeatureCache.key(FeatureCache.stem(said, dtype), {**ARRAYS, **changes})


def _features(number):
    return np.full((2, 3), number, np.float32)


def test_what_was_put_is_found(tmp_path):
    FeatureCache(tmp_path).put(_key(), _features(7))
    again = FeatureCache(tmp_path)
    found = again.get(_key())
    np.testing.assert_array_equal(found, _features(7))
    assert (again.hits, again.misses) == (1, 0)


@pytest.mark.parametrize(
    "changed",
    [
        _key(pixels=ARRAYS["pixels"] ^ np.eye(48, dtype=np.uint8)[5].reshape(1, 4, 4, 3)),
        _key(pixels=ARRAYS["pixels"].reshape(1, 2, 8, 3)),
        _key(pixels=ARRAYS["pixels"].view(np.int8)),
        _key(time_s=np.full(1, 1.5, np.float32)),
        _key({**SAID, "framing": {"filter": 3}}),
        _key({**SAID, "backbone": {"weights": "b" * 64}}),
        _key(dtype="<f2"),
    ],
    ids=["byte", "shape", "type", "second array", "option", "weight", "dtype"],
)
def test_a_change_is_never_met(tmp_path, changed):
    cache = FeatureCache(tmp_path)
    cache.put(_key(), _features(7))
    assert cache.get(changed) is None
    assert cache.get(_key()) is not None


def test_equal_content_is_met_whatever_the_order_of_the_arrays():
    stem = FeatureCache.stem(SAID, "<f4")
    assert FeatureCache.key(stem, dict(reversed(ARRAYS.items()))) == _key()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_entry_counts_as_absent(tmp_path, damage):
    cache = FeatureCache(tmp_path)
    cache.put(_key(), _features(7))
    (path,) = tmp_path.glob("*/*.feat")
    content = path.read_bytes()
    changed = {"cut": content[:-3], "flipped": content[:-1] + b"\x01", "empty": b"", "foreign": b"\x80\x04x.\n" * 9}
    path.write_bytes(changed[damage])
    assert cache.get(_key()) is None
    cache.put(_key(), _features(8))
    np.testing.assert_array_equal(cache.get(_key()), _features(8))


def test_the_least_recently_used_go_first(tmp_path):
    cache = FeatureCache(tmp_path, most_bytes=10 * 24)
    keys = [f"{number:064x}" for number in range(10)]
    for number, key in enumerate(keys):
        cache.put(key, _features(number))
        (path,) = tmp_path.glob(f"*/{key}.feat")
        os.utime(path, (number, number))
    assert cache.get(keys[0]) is not None  # used just now
    cache.put(f"{99:064x}", _features(99))
    kept = {path.stem for path in tmp_path.glob("*/*.feat")}
    assert keys[0] in kept
    assert f"{99:064x}" in kept
    assert keys[1] not in kept
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.feat")) <= 10 * 24


def test_a_size_from_an_earlier_run_counts(tmp_path):
    first = FeatureCache(tmp_path)
    for number in range(20):
        first.put(f"{number:064x}", _features(number))
    second = FeatureCache(tmp_path, most_bytes=240)
    second.put(f"{99:064x}", _features(99))
    assert len(list(tmp_path.glob("*/*.feat"))) <= 10


def test_writers_at_once_leave_whole_entries(tmp_path):
    wrong = []

    def work():
        cache = FeatureCache(tmp_path, most_bytes=4000)
        for number in range(60):
            key = f"{number % 12:064x}"
            found = cache.get(key)
            if found is not None and not np.array_equal(found, _features(number % 12)):
                wrong.append(number)
            cache.put(key, _features(number % 12))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not list(tmp_path.glob("*/*.tmp"))


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file" / "cache")
    cache.put(_key(), _features(1))
    assert cache.get(_key()) is None
