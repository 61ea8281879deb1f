"""Codes of what rows show, and the views in which large parts are hidden."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.data.augment import Augmenter, MaskAugment
from omnifuse.data.identity import content_codes, id_codes, num_repeated
from omnifuse.data.pack import Pack
from omnifuse.errors import InputError
from omnifuse.schema import Modality


def test_ids_of_equal_text_are_equal_and_missing_ones_are_nobodys():
    assert id_codes(["a", 1, None, "1", "a"]).tolist() == [0, 1, -1, 1, 0]


def test_contents_are_told_apart_by_every_array_of_a_row():
    arrays = {"x": np.array([1, 2, 1, 2, 1, 2]), "y": np.array([0, 0, 0, 0, 0, 5])}
    pack = Pack(arrays, np.array([0, 2, 2, 4, 6]), np.array([True, False, True, True]))
    codes = content_codes(pack)
    assert codes.tolist() == [0, -1, 0, 1]
    assert num_repeated(codes) == 2
    assert num_repeated(np.array([-1, -1])) == 0


def test_pictures_lose_about_the_share_and_a_clip_the_same_cells():
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (60, 20, 20, 3), dtype=np.uint8)
    found = MaskAugment(0.5)({"pixels": pixels}, np.full(20, 3), draw)["pixels"]
    changed = (found != pixels).any(axis=3)
    assert 0.4 < changed.mean() < 0.6
    assert changed.all(axis=(1, 2)).sum() == 0
    # 3 frames of a clip differ in what they show, not in where it is hidden
    clips = changed.reshape(20, 3, 20, 20)
    assert (clips[:, 0] == clips[:, 1]).mean() > 0.95


def test_sounds_keep_something_and_become_their_mean_elsewhere():
    draw = np.random.default_rng(1)
    lengths = np.array([24, 1, 60])
    sound = draw.normal(size=(85, 4)).astype(np.float32)
    found = MaskAugment(0.9)({"log_mel": sound}, lengths, draw)["log_mel"]
    kept = (found == sound).all(axis=1)
    assert kept[24]
    assert 0 < kept[:24].sum() < 24
    assert 0 < kept[25:].sum() < 60
    hidden = found[:24][~kept[:24]]
    np.testing.assert_allclose(hidden, np.tile(sound[:24].mean(axis=0), (len(hidden), 1)), rtol=1e-5, atol=1e-6)


def test_series_keep_something_that_was_observed():
    draw = np.random.default_rng(2)
    lengths = np.array([30, 2, 1])
    observed = np.zeros((33, 2), bool)
    observed[[0, 30, 32], 0] = True
    values = np.where(observed, 1.0, 0.0).astype(np.float32)
    time_s = np.arange(33, dtype=np.float32)
    for _ in range(10):
        found = MaskAugment(0.9)({"values": values, "time_s": time_s, "observed": observed}, lengths, draw)
        starts = np.cumsum(lengths) - lengths
        assert np.logical_or.reduceat(found["observed"].any(axis=1), starts).all()
        assert not found["values"][~found["observed"]].any()


def test_the_masking_policy_covers_every_modality_that_has_parts():
    policy = Augmenter.masking({item.value: item for item in (Modality.IMAGE, Modality.TEXT, Modality.TABLE,
                                                             Modality.DATE, Modality.PLACE)}).policy  # fmt: skip
    assert {name for name, item in policy.items() if item is None} == {"date", "place"}


def test_a_share_out_of_range_is_refused():
    with pytest.raises(InputError):
        MaskAugment(1.5)
