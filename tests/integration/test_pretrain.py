"""Pretraining end to end: a generated world, embeddings, retrieval, and a fit that begins with it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from tests.colour_tones import write_colour_tones

import omnifuse

QUICK = {"preset": "tiny", "logger": "none"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures and sounds of four classes: rows to learn from and rows to look at."""
    folder = tmp_path_factory.mktemp("world")
    return write_colour_tones(folder, 64), write_colour_tones(folder, 40, seed=1, name="test")


@pytest.fixture(scope="module")
def space(world, tmp_path_factory):
    """Pretrained on its pairs, without the label."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("space") / "run"
    model = omnifuse.pretrain(world[0], out=run, pairs="photo:tone", drop=["label"], epochs=12, **QUICK)
    return model, run


def classes(table):
    with open(table, encoding="utf-8") as handle:
        return np.array([row["label"] for row in csv.DictReader(handle)])


def test_a_sound_finds_pictures_of_its_class(world, space):
    vectors = omnifuse.load(space[1]).embed(world[1])
    labels = classes(world[1])
    for one, two in (("photo", "tone"), ("tone", "photo")):
        near = (vectors[f"embedding_{one}"] @ vectors[f"embedding_{two}"].T).argmax(axis=1)
        # By chance a quarter
        assert (labels[near] == labels).mean() >= 0.75


def test_the_embedding_of_a_row_lies_among_those_of_its_fields(world, space):
    model = omnifuse.load(space[1])
    vectors = model.embed(world[1])
    assert set(vectors) == {"embedding", "embedding_photo", "embedding_tone"}
    for value in vectors.values():
        np.testing.assert_allclose(np.linalg.norm(value, axis=1), 1, atol=1e-5)
    wanted = vectors["embedding_photo"] + vectors["embedding_tone"]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors["embedding"], wanted, atol=1e-5)


def test_a_row_of_one_field_is_where_that_field_is_and_an_empty_one_nowhere(world, space):
    with open(world[1], encoding="utf-8") as handle:
        row = next(csv.DictReader(handle))
    tone = str(world[1].parent / row["tone"])
    vectors = omnifuse.load(space[1]).embed([{"tone": tone, "photo": None}, {"tone": None, "photo": None}])
    np.testing.assert_allclose(vectors["embedding"][0], vectors["embedding_tone"][0], atol=1e-6)
    assert np.isnan(vectors["embedding_photo"]).all()
    assert np.isnan(vectors["embedding"][1]).all()


def test_what_was_measured_is_in_the_model(space):
    found = space[0].manifest["pretraining"]
    assert found["pairs"] == [["photo", "tone"]]
    assert set(found["retrieval"]) == {"photo>tone", "tone>photo"}
    for score in found["retrieval"].values():
        assert 0 <= score["R@1"] <= score["R@5"] <= score["R@10"] <= 1
        assert score["chance R@1"] == pytest.approx(1 / score["rows"])
    assert not any(item["collapsed"] for item in found["space"].values())


def test_a_pretrained_model_answers_nothing_and_says_so(world, space):
    model = omnifuse.load(space[1])
    for ask in (model.predict, model.evaluate, model.predict_proba):
        with pytest.raises(omnifuse.InputError, match=r"was pretrained.*--from"):
            ask(world[1])
    with pytest.raises(omnifuse.InputError, match="was pretrained"):
        model.explain({"tone": None})


def test_a_fit_begins_with_it(world, space, tmp_path):
    fitted = omnifuse.fit(
        world[0], "label", out=tmp_path / "fit", start=space[1], epochs=1, baselines=False, report_media="none",
        settings={"learning_rate": "1e-9", "weight_decay": "0", "averaging": "0"}, **QUICK,
    )  # fmt: skip
    taken = fitted.manifest["from"]
    assert taken == {"model_id": space[0].model_id, "taken": ["photo", "tone"], "fresh": {}}
    there = omnifuse.load(space[1])
    assert [item.to_json() for item in fitted.preprocessors.values()] == [
        item.to_json() for item in there.preprocessors.values()
    ]
    # At no rate to speak of, the encoders are still those of the pretraining, in every member
    for member in fitted.members:
        for name in ("encoders", "projectors"):
            wanted = getattr(there.members[0], name).state_dict()
            for key, value in getattr(member, name).state_dict().items():
                torch.testing.assert_close(value, wanted[key], atol=1e-6, rtol=1e-5)
