"""The generated world: the same bytes for one seed, and the truth that is promised."""

from __future__ import annotations

import hashlib

import numpy as np

from omnifuse.data.infer import infer_schema
from omnifuse.data.rooms import CLASSES, COLUMNS, Room, draw_picture, draw_sound, generate_rooms
from omnifuse.data.tables import open_table


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [str(path.relative_to(folder)).encode() + path.read_bytes() for path in files]
    return len(files), hashlib.sha256(b"".join(parts)).hexdigest()


def test_one_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train, test = generate_rooms(tmp_path / name, num_train=6, num_test=3, seed=seed)
        assert (train.name, test.name) == ("train.csv", "test.csv")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a")[0] == 2 * 9 + 2
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_the_schema_is_found(tmp_path):
    train, test = generate_rooms(tmp_path, num_train=120, num_test=30)
    table = open_table(train)
    assert table.columns == COLUMNS
    assert (table.num_rows, open_table(test).num_rows) == (120, 30)
    schema = infer_schema(table, ("event",), fields={}, tasks={}, drop=(), group=None, time=None)
    assert {item.name: item.modality.value for item in schema.fields} == {
        "picture": "image",
        "sound": "audio",
        "note": "text",
        "temperature": "number",
        "co2": "number",
        "room": "category",
        "time": "date",
    }
    assert schema.targets[0].classes == CLASSES
    assert schema.ids == ("id",)
    assert all(0.02 < item.missing < 0.3 for item in schema.fields)
    assert None not in table.cells("event")


def test_holes_can_be_left_out(tmp_path):
    train, _ = generate_rooms(tmp_path, num_train=10, num_test=1, holes=0.0)
    assert all(None not in open_table(train).cells(name) for name in COLUMNS)


def test_the_label_follows_from_the_truth():
    def event(**facts):
        plain = {"figure": False, "glow": False, "expected": False, "burning": False, "hour": 9}
        return Room(**{**plain, **facts}).event

    assert event() == event(glow=True) == event(expected=True) == "normal"
    assert event(figure=True) == "burglary"
    assert event(figure=True, expected=True) == "visitor"
    assert event(glow=True, burning=True, figure=True) == "fire"


def test_a_glow_is_seen_and_a_fire_is_heard():
    plain = Room(figure=False, glow=False, expected=True, burning=False, hour=9)
    fire = Room(figure=False, glow=True, expected=True, burning=True, hour=9)
    pictures = [
        np.mean([draw_picture(room, np.random.default_rng(seed)).astype(float) for seed in range(30)], axis=0)
        for room in (plain, fire)
    ]
    assert pictures[0].shape == (40, 40, 3)
    redness = [picture[..., 0].mean() - picture[..., 2].mean() for picture in pictures]
    assert redness[1] > redness[0] + 3
    loudness = [
        np.mean([np.abs(draw_sound(room, np.random.default_rng(seed))).max() for seed in range(30)])
        for room in (plain, fire)
    ]
    assert loudness[1] > 2 * loudness[0]
