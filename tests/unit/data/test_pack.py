"""Whole tables decoded and packed: rows found again, holes kept, bad cells counted and named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.made_media import encoded, sound

import omnifuse.data.pack as pack_module
from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.image import ImagePreprocessor
from omnifuse.data.media import MediaDoor
from omnifuse.data.pack import Pack, build_packs
from omnifuse.data.preprocessors import fit_preprocessors
from omnifuse.data.tables import open_table
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

DRAW = np.random.default_rng(0)


def photo(side=20):
    return encoded(Image.fromarray(DRAW.integers(0, 256, (side, side, 3), dtype=np.uint8)))


def pack_of(lengths):
    """Row r holds the numbers 100 r, 100 r + 1, ...; None = absent."""
    parts = [np.arange(100 * row, 100 * row + (length or 0)) for row, length in enumerate(lengths)]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    present = np.array([length is not None for length in lengths], bool)
    return Pack({"values": np.concatenate([*parts, np.zeros(0, np.int64)])}, offsets, present), parts


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [4, 0, 2], [1], [3, 3, 1, 0], [], [0, 4, 4, 4]])
def test_rows_are_taken_in_any_order(rows):
    pack, parts = pack_of([2, None, 3, 0, 1])
    taken = pack.take(np.array(rows, np.int64))
    wanted = [row for row in rows if pack.present[row]]
    np.testing.assert_array_equal(taken.present, [pack.present[row] for row in rows])
    np.testing.assert_array_equal(taken.lengths, [len(parts[row]) for row in wanted])
    expected = np.concatenate([np.zeros(0, np.int64), *(parts[row] for row in wanted)])
    np.testing.assert_array_equal(taken.values["values"], expected)


def test_one_row_and_lengths():
    pack, parts = pack_of([2, None, 3])
    np.testing.assert_array_equal(pack.lengths, [2, 0, 3])
    for row in range(3):
        np.testing.assert_array_equal(pack.row(row)["values"], parts[row])


COLUMNS = {
    "photo": Modality.IMAGE,
    "call": Modality.AUDIO,
    "note": Modality.TEXT,
    "when": Modality.DATE,
    "spot": Modality.PLACE,
    "topics": Modality.TAGS,
    "age": Modality.NUMBER,
    "town": Modality.CATEGORY,
}
SCHEMA = Schema(
    tuple(Field(name, modality) for name, modality in COLUMNS.items()), (Target("label", TaskKind.CLASSIFICATION),)
)
# Three rows at least of each, so that every preprocessor has something to learn from
ROWS = [
    {
        "photo": photo(),
        "call": DRAW.normal(size=8000),
        "note": "red dog",
        "when": "2024-01-02",
        "spot": "48.1, 11.6",
        "topics": "a|b",
        "age": "4",
        "town": "A",
    },
    {"photo": None, "call": None, "note": None, "when": None, "age": None, "town": None}
    | {"spot": None, "topics": None},
    {"photo": b"broken", "call": np.zeros((2, 2, 2)), "note": "cat", "when": "soon", "age": "old", "town": "B"}
    | {"spot": "here", "topics": ["b", "c"]},
    {"photo": photo(9), "call": DRAW.normal(size=900), "note": "red", "when": "2024-03-04", "age": "5", "town": "A"}
    | {"spot": (48.2, 11.5), "topics": ["a"]},
]


def packs_of(rows, **options):
    table = open_table([{**row, "label": "xy"[number % 2]} for number, row in enumerate(rows)])
    preprocessors = fit_preprocessors(table, SCHEMA, rows=np.arange(len(rows)), door=MediaDoor())
    return preprocessors, *build_packs(table, SCHEMA, preprocessors, door=MediaDoor(), **options)


@pytest.mark.parametrize("num_workers", [0, None])
def test_every_modality_is_packed_and_bad_cells_are_named(num_workers):
    preprocessors, packs, bad = packs_of(ROWS, num_workers=num_workers)
    assert set(packs) == set(preprocessors)
    assert {(cell.row, cell.field) for cell in bad} == {(2, "photo"), (2, "call"), (2, "when"), (2, "spot"), (2, "age")}
    reasons = {cell.field: cell.reason for cell in bad}
    assert "not PNG, JPEG" in reasons["photo"]
    assert "'old' is not a number" in reasons["age"]
    for name, present in {
        "photo": [1, 0, 0, 1],
        "call": [1, 0, 0, 1],
        "note": [1, 0, 1, 1],
        "when": [1, 0, 0, 1],
        "spot": [1, 0, 0, 1],
        "topics": [1, 0, 1, 1],
    }.items():
        np.testing.assert_array_equal(packs[name].present, np.array(present, bool))
    np.testing.assert_array_equal(
        packs["photo"].row(3)["pixels"], preprocessors["photo"](MediaDoor().image(ROWS[3]["photo"]))["pixels"]
    )
    for name, pack in packs.items():
        assert len(pack.offsets) == 5
        expected = {key: (array.dtype, array.shape[1:]) for key, array in preprocessors[name].empty().items()}
        assert {key: (array.dtype, array.shape[1:]) for key, array in pack.arrays.items()} == expected


def test_columns_that_the_table_lacks_are_missing():
    preprocessors, packs, _ = packs_of(ROWS)
    table = open_table([{"note": "dog", "label": "x"}, {"note": "cat", "label": "y"}])
    packs, bad = build_packs(table, SCHEMA, preprocessors, door=MediaDoor())
    assert bad == []
    for name, pack in packs.items():
        assert pack.present.all() if name == "note" else not pack.present.any()
        assert set(pack.arrays) == set(preprocessors[name].empty())
        assert pack.take(np.array([1, 0])).present.shape == (2,)


PHOTOS = Schema((Field("photo", Modality.IMAGE),), (Target("label", TaskKind.CLASSIFICATION),))


def photos(cells, **options):
    table = open_table([{"photo": cell, "label": "x"} for cell in cells])
    packs, bad = build_packs(table, PHOTOS, {"photo": ImagePreprocessor(16, 16)}, door=MediaDoor(), **options)
    return packs["photo"], bad


def test_many_media_go_to_workers_and_come_back_in_order(monkeypatch):
    cells = [b"broken" if number % 7 == 0 else photo(4 + number) for number in range(20)]
    alone, alone_bad = photos(cells, num_workers=0)
    monkeypatch.setattr(pack_module, "MIN_CELLS_FOR_WORKERS", 10)
    calls = []
    decode = pack_module.WorkerPool.decode
    monkeypatch.setattr(
        pack_module.WorkerPool, "decode", lambda self, *given: calls.append(len(given[0])) or decode(self, *given)
    )
    shared, shared_bad = photos(cells, num_workers=2)
    assert calls == [20]
    np.testing.assert_array_equal(alone.arrays["pixels"], shared.arrays["pixels"])
    np.testing.assert_array_equal(alone.offsets, shared.offsets)
    assert alone_bad == shared_bad
    assert [cell.row for cell in shared_bad] == [0, 7, 14]


def test_second_time_nothing_is_decoded(tmp_path, monkeypatch):
    cells = [photo(), photo(), b"broken", None]
    first, first_bad = photos(cells, cache_dir=tmp_path / "cache")
    decoded = []
    original = MediaDoor.image
    monkeypatch.setattr(
        MediaDoor, "image", lambda self, cell, **given: decoded.append(cell) or original(self, cell, **given)
    )
    again, again_bad = photos(cells, cache_dir=tmp_path / "cache")
    assert decoded == [b"broken"]
    assert first_bad == again_bad
    np.testing.assert_array_equal(first.arrays["pixels"], again.arrays["pixels"])
    # A file that changes under its name is another medium
    changed, _ = photos([photo(), *cells[1:]], cache_dir=tmp_path / "cache")
    assert len(decoded) == 3
    assert not np.array_equal(changed.row(0)["pixels"], first.row(0)["pixels"])


def test_sounds_are_packed_by_frames():
    schema = Schema((Field("call", Modality.AUDIO),), (Target("label", TaskKind.CLASSIFICATION),))
    preprocessor = AudioPreprocessor(rate_hz=8000)
    call = sound(DRAW.normal(0, 0.1, 4000), kind="FLAC")
    table = open_table([{"call": call, "label": "x"}, {"call": np.zeros(100), "label": "y"}])
    packs, bad = build_packs(table, schema, {"call": preprocessor}, door=MediaDoor())
    assert bad == []
    np.testing.assert_array_equal(packs["call"].lengths, [49, 1])
    np.testing.assert_array_equal(
        packs["call"].row(0)["log_mel"], preprocessor(MediaDoor().audio(call, 8000))["log_mel"]
    )
