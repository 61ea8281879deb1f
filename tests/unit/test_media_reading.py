"""How media files are read for a pack: once with the cache on, and by workers only where that is quicker."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from omnifuse.data import media as media_module
from omnifuse.data import pack as pack_module
from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.cache import MediaCache
from omnifuse.data.image import ImagePreprocessor
from omnifuse.data.media import LoadedFile, MediaDoor
from omnifuse.data.pack import build_packs
from omnifuse.data.tables import open_table
from omnifuse.data.workers import decode_cell, decode_once
from omnifuse.errors import MediaError
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

DRAW = np.random.default_rng(0)
SCHEMA = Schema(
    (Field("photo", Modality.IMAGE), Field("call", Modality.AUDIO)), (Target("label", TaskKind.CLASSIFICATION),)
)
PREPROCESSORS = {"photo": ImagePreprocessor(16, 16), "call": AudioPreprocessor(rate_hz=8000)}


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        Image.fromarray(DRAW.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        soundfile.write(tmp_path / f"{number}.wav", DRAW.normal(0, 0.1, 4000), 8000)
    return tmp_path


def packed(folder, **options):
    rows = [{"photo": f"{number}.png", "call": f"{number}.wav", "label": "x"} for number in range(3)]
    return build_packs(
        open_table(rows, media_root=folder), SCHEMA, PREPROCESSORS, door=MediaDoor(root=folder), **options
    )


def test_each_file_is_opened_once_with_the_cache_on(folder, tmp_path, monkeypatch):
    plain, _ = packed(folder)
    opened = []
    for name in ("open_medium", "read_medium"):
        original = getattr(media_module, name)
        monkeypatch.setattr(
            media_module, name, lambda cell, original=original, **given: opened.append(cell) or original(cell, **given)
        )
    for _ in range(2):
        opened.clear()
        packs, bad = packed(folder, cache_dir=tmp_path / "cache")
        assert bad == []
        assert sorted(opened) == sorted(f"{number}.{kind}" for number in range(3) for kind in ("png", "wav"))
        for name, pack in packs.items():
            for key, array in pack.arrays.items():
                np.testing.assert_array_equal(array, plain[name].arrays[key])


def test_loaded_file_is_decoded_as_its_path_with_the_same_errors(folder):
    door = MediaDoor(root=folder)
    (folder / "broken.png").write_bytes(b"nothing")
    for name, preprocessor in (("0.png", PREPROCESSORS["photo"]), ("1.wav", PREPROCESSORS["call"])):
        loaded = door.loaded(name)
        assert isinstance(loaded, LoadedFile)
        assert door.content_key(loaded) == door.content_key(name)
        one, other = decode_cell(loaded, preprocessor, door), decode_cell(name, preprocessor, door)
        for key, array in other.items():
            np.testing.assert_array_equal(one[key], array)
    for preprocessor in PREPROCESSORS.values():
        reason = decode_cell("broken.png", preprocessor, door)
        assert "Read from 'broken.png'" in reason
        assert decode_cell(door.loaded("broken.png"), preprocessor, door) == reason
    with pytest.raises(MediaError, match="There is no such file"):
        door.loaded("none.png")
    assert door.loaded(b"content") == b"content"


def test_large_file_stays_a_path(folder, monkeypatch):
    monkeypatch.setattr(media_module, "_LOADED_BYTES", 10)
    assert MediaDoor(root=folder).loaded("0.png") == "0.png"


def test_too_little_memory_for_a_content_costs_one_cell(folder, tmp_path):
    class Greedy(MediaDoor):
        def loaded(self, cell):
            raise MemoryError

    answer = decode_once("a.png", PREPROCESSORS["photo"], Greedy(root=folder), MediaCache(tmp_path))
    assert answer == "There is not enough memory to decode 'a.png'."


def test_size_of_a_cell(folder):
    door = MediaDoor(root=folder)
    assert door.size("0.png") == (folder / "0.png").stat().st_size
    assert door.size(b"abc") == 3
    for cell in ("none.png", "a\0b", np.zeros(5), Image.new("L", (4, 4)), None):
        assert door.size(cell) == 0


def test_workers_are_worth_it_by_bytes_and_never_for_one():
    door, tiny, large = MediaDoor(), bytes(500), bytes(200_000)

    def worth(cells, modality=Modality.IMAGE, count=2):
        return pack_module._is_worth_workers(cells, modality, door, count)

    assert not worth([tiny] * 8000)
    assert worth([tiny] * 32_000)
    assert not worth([large] * 160)
    assert worth([large] * 300)
    # More processes pay sooner; a single one never pays, but a decoder that dies then costs one cell alone
    assert worth([large] * 160, count=8)
    assert worth([large] * 300, count=1)
    assert worth([large] * 200, Modality.AUDIO)
    assert not worth([bytes(100_000_000)], count=8)
    # What is decoded already never leaves this process
    assert not worth([np.zeros((4, 4), np.uint8)] * 90_000)


def test_packing_lets_go_of_the_parts():
    parts = [{"ids": np.arange(3)}, None, {"ids": np.arange(2)}]
    pack = pack_module._join(parts, None)
    assert parts == [None, None, None]
    np.testing.assert_array_equal(pack.arrays["ids"], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(pack.offsets, [0, 3, 3, 5])


def test_sound_of_bytes_is_that_of_the_file(tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, DRAW.normal(0, 0.1, 20_000), 8000, format="OGG")
    (tmp_path / "a.ogg").write_bytes(buffer.getvalue())
    door = MediaDoor(root=tmp_path)
    np.testing.assert_array_equal(door.audio(door.loaded("a.ogg"), 16_000), door.audio("a.ogg", 16_000))
