"""One seed gives one model, to the byte."""

from __future__ import annotations

import pytest
from tests.conftest import QUICK, plain_rows

import omnifuse


def weights(table, label, out, **options):
    model = omnifuse.fit(table, label, out=out, **(QUICK | {"epochs": 2} | options))
    return (out / "model" / "weights.safetensors").read_bytes(), model


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_and_another_seed_gives_others(tmp_path):
    rows = plain_rows(30, holes=0.1)
    options = {"drop": ("key", "tags"), "settings": {"mixup": "0.3", "modality_dropout": "0.3"}}
    first, model = weights(rows, ["kind", "price"], tmp_path / "a", **options)
    second, again = weights(rows, ["kind", "price"], tmp_path / "b", **options)
    assert first == second
    assert model.predict(rows, proba=True)[0].targets == again.predict(rows, proba=True)[0].targets
    assert {k: v.to_json() for k, v in model.readouts.items()} == {k: v.to_json() for k, v in again.readouts.items()}
    assert model.metrics["targets"] == again.metrics["targets"]
    third, _ = weights(rows, ["kind", "price"], tmp_path / "a", seed=1, **options)
    assert third != first
    assert weights(rows, ["kind", "price"], tmp_path / "a", **options)[0] == first


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_with_media_augmentation_cache_and_baselines(rooms, tmp_path):
    first, _ = weights(rooms.train, "event", tmp_path / "a", baselines=True)
    second, _ = weights(rooms.train, "event", tmp_path / "b")
    assert first == second
    # Now everything comes from the cache of the folder
    assert weights(rooms.train, "event", tmp_path / "b")[0] == first
