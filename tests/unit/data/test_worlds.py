"""Generated worlds: the same bytes for a seed, truths that add up, and a yardstick that is right."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from omnifuse.data.world_cells import RENDERERS, draw_shape, draw_tone
from omnifuse.data.worlds import WORLDS, World, WorldField, generate_world
from omnifuse.errors import InputError

PLAIN = World(
    (
        WorldField("note", 0, 0.9, 0.2),
        WorldField("number", 1, 0.8, 0.3, "by_bit"),
        WorldField("place", 1, 1.0, 0.3, "by_category"),
        WorldField("category", None),
        WorldField("tags", 0, 0.7),
        WorldField("date", None, missing=0.5),
    ),
    "number",
)


def read(path):
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_one_seed_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        generate_world(tmp_path / name, WORLDS["redundant"], num_train=6, num_test=3, seed=4)
    first = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(first) > 20
    for path in first:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
    generate_world(tmp_path / "three", WORLDS["redundant"], num_train=6, num_test=3, seed=5)
    assert (tmp_path / "one/train.csv").read_bytes() != (tmp_path / "three/train.csv").read_bytes()


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    train, test = generate_world(out, PLAIN, num_train=3000, num_test=10)
    assert test.name == "test.csv"
    return read(train), read(out / "truth_train.csv"), json.loads((out / "truth.json").read_text(encoding="utf-8"))


def test_labels_follow_from_the_bits(made):
    rows, truths, _ = made
    for row, truth in zip(rows, truths, strict=True):
        assert row["id"] == truth["id"]
        assert row["label"] == f"n{int(truth['bit0']) + 2 * int(truth['bit1'])}"


def test_fields_show_their_bit_as_often_as_said(made):
    _, truths, _ = made
    for name, bit, reliability in (("note", 0, 0.9), ("number", 1, 0.8), ("place", 1, 1.0), ("tags", 0, 0.7)):
        share = np.mean([truth[f"{name}_shows"] == truth[f"bit{bit}"] for truth in truths])
        assert share == pytest.approx(reliability, abs=0.025)
    assert np.mean([truth["date_shows"] == truth["bit0"] for truth in truths]) == pytest.approx(0.5, abs=0.03)


def test_cells_go_missing_as_said(made):
    rows, truths, _ = made
    empty = {name: np.array([not row[name] for row in rows]) for name in ("note", "number", "place", "tags", "date")}
    for name, share in (("note", 0.2), ("number", 0.3), ("place", 0.3), ("tags", 0.0), ("date", 0.5)):
        assert empty[name].mean() == pytest.approx(share, abs=0.03)
    for name, by in (("number", "number"), ("place", "category")):
        side = np.array([truth[f"{by}_shows"] == "1" for truth in truths])
        assert empty[name][side].mean() == pytest.approx(0.45, abs=0.04)
        assert empty[name][~side].mean() == pytest.approx(0.15, abs=0.04)


def test_no_answer_beats_the_best_one(made):
    rows, truths, told = made
    right = np.mean([row["label"] == truth["best_answer"] for row, truth in zip(rows, truths, strict=True)])
    sure = np.mean([float(truth["best_confidence"]) for truth in truths])
    assert right == pytest.approx(sure, abs=0.025)
    assert told["best_accuracy"]["note"] == pytest.approx(0.9 / 2)
    assert told["best_accuracy"]["date"] == pytest.approx(0.25)


def test_best_accuracies_by_hand():
    assert WORLDS["xor"].best_accuracy(["picture", "sound"]) == 1.0
    assert WORLDS["xor"].best_accuracy(["picture"]) == 0.5
    pair = World((WorldField("note", 0, 0.9), WorldField("number", 0, 0.8)))
    # The surer of two wins whenever they disagree
    assert pair.best_accuracy(["note", "number"]) == pytest.approx(0.9)
    three = World(tuple(WorldField(name, 0, 0.8) for name in ("note", "number", "place")))
    assert three.best_accuracy(["note", "number", "place"]) == pytest.approx(0.8**3 + 3 * 0.8**2 * 0.2)
    assert pair.posterior({"note": 1}) == pytest.approx({"even": 0.1, "odd": 0.9})
    assert pair.posterior({}) == {"even": 0.5, "odd": 0.5}
    hiding = World((WorldField("note", 0, 1.0, 0.4, "by_bit"),))
    # Missing three times as often where the bit is 1
    assert hiding.posterior({}, whole=True) == pytest.approx({"even": 0.25, "odd": 0.75})
    told = World((WorldField("note", 0, 0.9, 0.4, "by_category"), WorldField("category", 1, 0.8, 0.5)), "number")
    # An empty note points to the category, which points to its bit
    assert told.posterior({}, whole=True)["n2"] == pytest.approx(0.5 * (0.75 * 0.8 + 0.25 * 0.2))
    majority = World(tuple(WorldField(name, bit) for bit, name in enumerate(("note", "number", "place"))), "majority")
    assert majority.best_accuracy(["note"]) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "kind", ["picture", "sound", "note", "number", "category", "date", "place", "tags", "series", "views"]
)
def test_the_two_values_of_a_bit_look_different(kind, tmp_path):
    cells = [
        {RENDERERS[kind](bit, np.random.default_rng(k), tmp_path, f"{bit}-{k}") for k in range(40)} for bit in (0, 1)
    ]
    assert not cells[0] & cells[1]


def test_shapes_and_tones_are_told_apart_by_simple_means():
    draw = np.random.default_rng(0)
    # A cross fills less of the box around it than a disc does
    filled = []
    for bit in (0, 1):
        shares = []
        for _ in range(30):
            bright = draw_shape(bit, draw).mean(axis=2) > 128
            rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
            shares.append(bright.sum() / (np.ptp(rows) + 1) / (np.ptp(columns) + 1))
        filled.append(np.median(shares))
    assert filled[0] > filled[1] + 0.1
    for bit in (0, 1):
        tone = draw_tone(bit, draw)
        halves = [np.abs(np.fft.rfft(half)).argmax() for half in np.array_split(tone, 2)]
        assert (halves[1] > halves[0]) == bool(bit)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: WorldField("pictre", 0), "picture"),
        (lambda: WorldField("note", 0, 0.3), "reliability"),
        (lambda: WorldField("note", 0, 0.9, 0.1, "by chance"), "by_category|random|by_bit"),
        (lambda: World((WorldField("note", 1),)), "Count from 0"),
        (lambda: World((WorldField("note", 0), WorldField("note", 0))), "same name"),
        (lambda: World((WorldField("note", 0),), "xor"), "rule"),
        (lambda: generate_world("nowhere", "sixx"), "six"),
    ],
)
def test_what_cannot_be_meant_is_refused(build, words):
    with pytest.raises(InputError, match=words):
        build()


def test_fields_may_come_twice():
    world = World((WorldField("picture", 0), WorldField("picture2", 1)))
    assert [item.kind for item in world.fields] == ["picture", "picture"]
