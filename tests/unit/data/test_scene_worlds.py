"""Generated scenes: the same bytes for one seed, truth that can be seen, and no pair of the test in training."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from omnifuse.data.scene_worlds import (
    COLOURS,
    COLUMNS,
    HELD_OUT,
    PLACES,
    SHAPES,
    SIDE,
    Group,
    Scene,
    ask,
    draw_picture,
    draw_scene,
    facts_of,
    generate_scenes,
)


def read(path):
    with path.open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)).hexdigest()


def test_one_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        generate_scenes(tmp_path / name, num_train=4, num_test=3, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_tables_and_truth_belong_together(tmp_path):
    for path in generate_scenes(tmp_path, num_train=20, num_test=10):
        rows, truth = read(path), read(tmp_path / f"truth_{path.name}")
        assert tuple(rows[0]) == COLUMNS
        for row, known in zip(rows, truth, strict=True):
            assert row["id"] == known["id"]
            assert (tmp_path / row["picture"]).is_file()
            facts = [tuple(fact) for fact in json.loads(known["facts"])]
            assert known["references"].split("|")[0] == row["caption"]
            for text in known["references"].split("|"):
                assert Counter(facts_of(text)) == Counter(facts)


def test_training_never_shows_a_pair_of_the_test():
    draw = np.random.default_rng(0)
    train = Counter((g.colour, g.shape) for _ in range(600) for g in draw_scene(draw, held_out=False).groups)
    assert not set(train) & set(HELD_OUT)
    assert {colour for colour, _ in train} == {colour for colour, _ in HELD_OUT} == set(COLOURS)
    assert {shape for _, shape in train} == {shape for _, shape in HELD_OUT} == set(SHAPES)
    for _ in range(200):
        scene = draw_scene(draw, held_out=True)
        assert any((group.colour, group.shape) in HELD_OUT for group in scene.groups)
        assert len({(group.colour, group.shape) for group in scene.groups}) == len(scene.groups)


def test_the_picture_shows_the_truth():
    """A reader that knows colours, and areas of shapes in their frames, reads every fact back."""
    draw = np.random.default_rng(0)
    filled = {
        "square": (0.94, 1.01),
        "disc": (0.7, 0.93),
        "triangle": (0.42, 0.7),
        "ring": (0.42, 0.64),
        "cross": (0.3, 0.62),
    }
    for _ in range(60):
        scene = draw_scene(draw, held_out=False)
        pixels = draw_picture(scene, draw).astype(float) / 255
        assert pixels.shape == (SIDE, SIDE, 3)
        labels, count = ndimage.label(ndimage.median_filter(pixels.max(axis=2), 3) > 0.45)
        found = Counter()
        for box, number in zip(ndimage.find_objects(labels), range(1, count + 1), strict=True):
            inside = labels[box] == number
            if inside.sum() < 20:
                continue  # grain
            mean = pixels[box][inside].mean(axis=0)
            colour = min(
                COLOURS, key=lambda name: np.abs(mean / mean.max() - np.array(COLOURS[name]) / max(COLOURS[name])).sum()
            )
            place = PLACES[int((box[1].start + box[1].stop) / 2 // (SIDE / 3))]
            found[colour, place] += 1
            shape = next(group.shape for group in scene.groups if group.place == place)
            low, high = filled[shape]
            assert low <= inside.mean() <= high, shape
        assert found == {(group.colour, group.place): group.count for group in scene.groups}


def test_captions_by_hand():
    scene = Scene(
        (Group(2, "red", "disc", PLACES[0]), Group(1, "blue", "cross", PLACES[1]), Group(3, "white", "ring", PLACES[2]))
    )
    assert scene.caption == "two red discs on the left, one blue cross in the middle and three white rings on the right"
    assert len(scene.references) == 3
    for text in scene.references:
        assert Counter(facts_of(f"There are {text}!")) == Counter(scene.facts)
    assert len(Scene(scene.groups[:1]).references) == 2
    for wrong in ("", "discs", "two red", "two red discs", "many red discs on the left", "\u4f60\u597d", "on the left"):
        assert facts_of(wrong) == []
    assert facts_of("one red disc on the left " * 3) == [(1, "red", "disc", "on the left")] * 3


def test_answers_follow_from_the_scene():
    draw = np.random.default_rng(1)
    kinds, whether = Counter(), Counter()
    for _ in range(1500):
        scene = draw_scene(draw, held_out=False)
        question, answer = ask(scene, draw)
        words = question.split()
        kinds[words[0] + " " + words[1]] += 1
        groups = scene.groups
        if words[0] == "is":
            whether[answer] += 1
            assert (answer == "yes") == any((g.colour, g.shape) == tuple(words[-2:]) for g in groups)
        elif words[1] == "many":
            total = sum(g.count for g in groups if SHAPES[g.shape] == words[2])
            assert answer == ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"][total]
        elif words[0] == "where":
            assert [answer] == [g.place.split()[-1] for g in groups if (g.colour, g.shape) == tuple(words[-2:])]
        else:
            (group,) = [g for g in groups if question.endswith(g.place)]
            assert answer == (group.colour if words[1] == "colour" else group.shape)
    assert len(kinds) == 5
    assert min(kinds.values()) > 200
    assert whether["no"] / sum(whether.values()) == pytest.approx(0.47, abs=0.12)
