"""Augmentation: each option changes what it should and nothing else; the same state of the source, the same result."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.augment import (
    AudioAugment,
    Augmenter,
    ImageAugment,
    PlaceAugment,
    SeriesAugment,
    TableAugment,
    TagsAugment,
    TextAugment,
    VideoAugment,
)
from omnifuse.data.augment_image import RAND_OPS
from omnifuse.data.pack import PackedRows
from omnifuse.data.prosody import PROSODY_NAMES
from omnifuse.data.text import MASK_ID
from omnifuse.errors import InputError
from omnifuse.schema import Modality

FLOOR = np.float32(np.log(1e-6))
NO_SOUND = {"shift": 0.0, "noise": 0.0, "time_masks": 0, "band_masks": 0, "band_shift": 0}
NO_PICTURE = {"warped": 0.0, "colour": 0.0, "erase": 0.0}
BANDS = 12


def draw(seed=0):
    return np.random.default_rng(seed)


def rows(values, lengths):
    return PackedRows(values, np.asarray(lengths, np.int64), np.ones(len(lengths), bool))


def pictures(count=24, height=20, width=28):
    return {"pixels": draw(1).integers(0, 256, (count, height, width, 3), dtype=np.uint8)}


def sounds(lengths):
    return {"log_mel": draw(2).normal(-4, 2, (sum(lengths), BANDS + len(PROSODY_NAMES))).astype(np.float32)}


def texts(lengths):
    return {"ids": draw(3).integers(4, 90, sum(lengths)).astype(np.int32)}


def table(count=200, numbers=4, categories=3):
    missing = draw(4).random((count, numbers + categories)) < 0.2
    missing[:, 1] = False
    values = draw(5).normal(size=(count, numbers)).astype(np.float32)
    levels = draw(6).integers(2, 9, (count, categories)).astype(np.int32)
    return {
        "numbers": np.where(missing[:, :numbers], np.float32(0), values),
        "categories": np.where(missing[:, numbers:], np.int32(1), levels),
        "missing": missing,
    }


def series(lengths, channels=3):
    size = (sum(lengths), channels)
    observed = draw(8).random(size) < 0.8
    values = np.where(observed, draw(9).normal(size=size), 0).astype(np.float32)
    times = np.concatenate([-np.cumsum(draw(10).exponential(60.0, count))[::-1] for count in lengths])
    return {"values": values, "time_s": times.astype(np.float32), "observed": observed}


ALL = {
    "photo": (Modality.IMAGE, rows(pictures(), [1] * 24)),
    "clip": (Modality.VIDEO, rows({**pictures(), "time_s": np.arange(24, dtype=np.float32)}, [8, 1, 3, 12])),
    "voice": (Modality.AUDIO, rows(sounds([40, 1, 2, 130, 7]), [40, 1, 2, 130, 7])),
    "note": (Modality.TEXT, rows(texts([9, 1, 30, 2]), [9, 1, 30, 2])),
    "sensor": (Modality.SERIES, rows(series([60, 1, 2, 200]), [60, 1, 2, 200])),
    "cells": (Modality.TABLE, rows(table(), [1] * 200)),
    "topics": (Modality.TAGS, rows({"tags": np.arange(40, dtype=np.int32)}, [30, 1, 9])),
    "spot": (Modality.PLACE, rows({"degrees": np.array([[48.1, 11.6], [89.9, 170.0], [0.0, -180.0]])}, [1] * 3)),
    "when": (Modality.DATE, rows({"seconds": np.arange(3)}, [1] * 3)),
}
MODALITIES = {name: kind for name, (kind, _) in ALL.items()}


class Sounds:
    num_mels, level = BANDS, "none"


class Places:
    spread_km = 500.0


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", ALL)
def test_default_keeps_structure_and_input_and_follows_the_source(name, strength):
    augmenter = Augmenter.default(MODALITIES, strength, preprocessors={"voice": Sounds(), "spot": Places()})
    packed = ALL[name][1]
    before = {key: value.copy() for key, value in packed.values.items()}
    first, second, other = (augmenter(name, packed, draw(seed)) for seed in (7, 7, 8))
    assert list(first.values) == list(before)
    np.testing.assert_array_equal(first.lengths, packed.lengths)
    np.testing.assert_array_equal(first.present, packed.present)
    for key, value in first.values.items():
        assert value.dtype == before[key].dtype
        assert value.shape == before[key].shape
        assert np.isfinite(value.astype(float)).all()
        np.testing.assert_array_equal(packed.values[key], before[key])
        np.testing.assert_array_equal(value, second.values[key])
    changed = any((first.values[key] != other.values[key]).any() for key in before)
    assert changed == (name != "when")


def test_strength_nothing_leaves_all_as_it_is():
    augmenter = Augmenter.default(MODALITIES, 0.0)
    for name, (_, packed) in ALL.items():
        assert augmenter(name, packed, draw()) is packed
    assert Augmenter()("anything", ALL["photo"][1], draw()) is ALL["photo"][1]


@pytest.mark.parametrize("name", ["photo", "voice", "note", "cells", "sensor"])
def test_no_present_row(name):
    packed = ALL[name][1]
    empty = PackedRows({key: value[:0] for key, value in packed.values.items()}, packed.lengths[:0], np.zeros(4, bool))
    assert Augmenter.default(MODALITIES)(name, empty, draw()) is empty


def test_default_reads_bands_and_level_of_the_preprocessor():
    fitted = {"voice": AudioPreprocessor(num_mels=32, level="none")}
    loud = Augmenter.default(MODALITIES, preprocessors=fitted).policy["voice"]
    assert (loud.num_mels, loud.gain, loud.band_mask) == (32, 6.0, 4)
    usual = Augmenter.default(MODALITIES).policy["voice"]
    assert (usual.num_mels, usual.gain, usual.band_mask) == (64, 0.0, 8)
    assert not Augmenter.default(MODALITIES).policy["photo"].flip


def test_wrong_options_are_named():
    with pytest.raises(InputError, match="strength of augmentation must be 0 to 3, received 4"):
        Augmenter.default(MODALITIES, 4)
    with pytest.raises(InputError, match=r"erase of ImageAugment must be 0 to 1, received 1\.5"):
        ImageAugment(erase=1.5)
    with pytest.raises(InputError, match=r"zoom of ImageAugment must be 0.1 to 10 with the smaller one first"):
        ImageAugment(zoom=(1.2, 0.9))
    with pytest.raises(InputError, match="time_mask of AudioAugment must be 0 to 1, received -1"):
        AudioAugment(time_mask=-1)
    with pytest.raises(InputError, match="dropout of TextAugment"):
        TextAugment(dropout=2)
    with pytest.raises(InputError, match="jitter of TableAugment must be 0 to 10"):
        TableAugment(jitter=11)


# Pictures


def changed_pictures(seed=0, **options):
    before = pictures()["pixels"]
    after = ImageAugment(**{**NO_PICTURE, **options})({"pixels": before}, np.ones(24, int), draw(seed))["pixels"]
    return before, after


def test_picture_without_any_change():
    before, after = changed_pictures()
    np.testing.assert_array_equal(before, after)


def test_flip_mirrors_about_half_of_the_pictures():
    before, after = changed_pictures(flip=True)
    mirrored = [(a == b[:, ::-1]).all() for a, b in zip(after, before, strict=True)]
    same = [(a == b).all() for a, b in zip(after, before, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 4 < sum(mirrored) < 20


def test_shift_moves_and_repeats_the_border():
    stripes = np.repeat(np.arange(28, dtype=np.uint8)[None, :, None], 3, axis=2) * 4
    values = {"pixels": np.tile(stripes, (16, 20, 1, 1))}
    after = ImageAugment(**{**NO_PICTURE, "warped": 1.0}, shift=0.2, zoom=(1, 1), rotate=0)(values, np.ones(16), draw())
    for picture in after["pixels"].astype(int):
        assert (picture == picture[:1]).all()
        steps = np.diff(picture[0, :, 0])
        # Inside the frame a stripe is as wide as before; where it ran out the border is repeated
        assert ((steps >= 0) & (steps <= 4)).all()
        assert (steps == 4).sum() >= 28 * 0.8 - 2
    assert len(np.unique(after["pixels"][:, 0, 10, 0])) > 8


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_zoom_enlarges_about_the_middle(factor):
    pixels = np.zeros((4, 32, 48, 3), np.uint8)
    pixels[:, 12:20, 20:28] = 200
    augment = ImageAugment(**{**NO_PICTURE, "warped": 1.0}, shift=0, zoom=(factor, factor), rotate=0)
    after = augment({"pixels": pixels}, np.ones(4), draw())["pixels"].astype(float)[..., 0] / 200
    np.testing.assert_allclose(after.sum(axis=(1, 2)), 64 * factor**2, rtol=0.02)
    np.testing.assert_allclose(after, after[:, ::-1, ::-1], atol=0.26)


def test_rotation_keeps_the_middle_and_the_amount():
    pixels = np.zeros((16, 33, 33, 3), np.uint8)
    pixels[:, 14:19, 4:29] = 200
    augment = ImageAugment(**{**NO_PICTURE, "warped": 1.0}, shift=0, zoom=(1, 1), rotate=90)
    after = augment({"pixels": pixels}, np.ones(16), draw())["pixels"].astype(float)[..., 0] / 200
    assert (after[:, 16, 16] > 0.98).all()
    np.testing.assert_allclose(after.sum(axis=(1, 2)), 125, rtol=0.05)
    # The bar stands at angles of its own: its height on the page varies
    assert np.ptp((after > 0.5).any(axis=2).sum(axis=1)) > 10


def test_colour_keeps_grey_pictures_grey_and_shapes_whole():
    grey = np.repeat(draw(9).integers(60, 190, (24, 20, 28, 1), dtype=np.uint8), 3, axis=3)
    after = ImageAugment(warped=0, erase=0, colour=0.3)({"pixels": grey}, np.ones(24), draw())["pixels"].astype(int)
    assert (after.max(axis=3) - after.min(axis=3) <= 1).all()
    order = np.argsort(grey[..., 0].reshape(24, -1), axis=1)
    ordered = np.take_along_axis(after[..., 1].reshape(24, -1), order, axis=1)
    assert (np.diff(ordered, axis=1) >= 0).all()
    assert (after.mean(axis=(1, 2, 3)).round(1) != grey.mean(axis=(1, 2, 3)).round(1)).mean() > 0.8


def test_erase_fills_one_rectangle_with_one_colour():
    before, after = changed_pictures(erase=1.0)
    for old, new in zip(before, after, strict=True):
        touched = (old != new).any(axis=2)
        rows_hit, columns_hit = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
        inside = new[rows_hit[0] : rows_hit[-1] + 1, columns_hit[0] : columns_hit[-1] + 1]
        assert (inside == inside[0, 0]).all()
        assert 0.005 < touched.mean() <= 0.21
    # A share of the pictures
    assert 2 <= (changed_pictures(erase=0.3)[1] != before).any(axis=(1, 2, 3)).sum() <= 14


@pytest.mark.parametrize("index", range(len(RAND_OPS)))
def test_each_random_operation_changes_pictures(index, monkeypatch):
    augment = ImageAugment(**NO_PICTURE, rand=1, magnitude=1.0)
    amount = {name: np.full(24, 0.0) for name in RAND_OPS}
    amount[RAND_OPS[index]] = np.full(24, {"rotate": 12.0, "posterize": 4.0}.get(RAND_OPS[index], 0.3))
    monkeypatch.setattr(ImageAugment, "_drawn_ops", lambda *_: amount)
    before = pictures()
    after = augment(before, np.ones(24), draw())["pixels"]
    assert (after != before["pixels"]).any(axis=(1, 2, 3)).all()
    if RAND_OPS[index] == "posterize":
        np.testing.assert_array_equal(after, before["pixels"] & 0xF0)
    if RAND_OPS[index] == "solarize":
        bright = before["pixels"] > 255 * 0.7
        np.testing.assert_array_equal(after, np.where(bright, 255 - before["pixels"], before["pixels"]))


def test_rand_draws_so_many_different_operations():
    drawn = ImageAugment(rand=3)._drawn_ops(500, draw())
    counts = sum((amount != 0).astype(int) for amount in drawn.values())
    assert (counts == 3).all()
    assert min((amount != 0).mean() for amount in drawn.values()) > 0.2
    assert max(np.abs(amount).max() for amount in drawn.values()) <= 15 * 0.4


# Sounds


def one_sound(values, **options):
    lengths = np.array([len(values)])
    augment = AudioAugment(num_mels=BANDS, **{**NO_SOUND, **options})
    return augment({"log_mel": values}, lengths, draw())["log_mel"]


def test_sound_without_any_change():
    before = sounds([30])["log_mel"]
    np.testing.assert_array_equal(one_sound(before), before)


def test_gain_adds_one_number_to_the_bands_alone():
    before = sounds([30])["log_mel"]
    after = one_sound(before, gain=6.0)
    added = (after - before)[:, :BANDS]
    kept = after[:, :BANDS] > FLOOR
    assert np.ptp(added[kept]) < 1e-5
    assert 0 < abs(added[kept][0]) < 6 * np.log(10) / 10
    np.testing.assert_array_equal(after[:, BANDS:], before[:, BANDS:])


def test_time_shift_moves_all_columns_and_silence_comes_in():
    before = sounds([50])["log_mel"]
    after = one_sound(before, shift=0.3)
    silent = (after[:, :BANDS] == FLOOR).all(axis=1)
    size = int(silent.sum())
    assert 1 <= size <= 15
    moved = (after[size:], before[:-size]) if silent[0] else (after[:-size], before[size:])
    np.testing.assert_array_equal(*moved)
    empty = after[silent]
    assert (empty[:, BANDS + PROSODY_NAMES.index("voicing")] == 0).all()
    assert (empty[:, BANDS + PROSODY_NAMES.index("log_energy")] == FLOOR).all()
    edge = before[0] if silent[0] else before[-1]
    assert (empty[:, BANDS + PROSODY_NAMES.index("pitch")] == edge[BANDS + PROSODY_NAMES.index("pitch")]).all()


def test_noise_only_adds_power():
    before = sounds([60])["log_mel"]
    after = one_sound(before, noise=1.0, noise_db=(-20.0, -20.0))
    added = np.exp(after[:, :BANDS].astype(float)) - np.exp(before[:, :BANDS].astype(float))
    assert added.min() > -1e-5
    # Its mean lies 20 decibel below that of the sound, and up to 6 decibel off in a band by its colour
    share = added.mean() / np.exp(before[:, :BANDS]).mean()
    assert 0.01 / 4 < share < 0.01 * 4
    np.testing.assert_array_equal(after[:, BANDS:], before[:, BANDS:])


def test_masks_in_time_show_the_mean_spectrum():
    before = sounds([100])["log_mel"]
    after = one_sound(before, time_masks=2, time_mask=0.2)
    touched = (after != before).any(axis=1)
    assert 1 <= touched.sum() <= 40
    np.testing.assert_allclose(after[touched], np.tile(before.mean(axis=0), (touched.sum(), 1)), atol=1e-5)


def test_masks_in_frequency_show_the_mean_of_the_bands():
    before = sounds([100])["log_mel"]
    after = one_sound(before, band_masks=1, band_mask=6)
    touched = np.flatnonzero((after != before).any(axis=0))
    assert 1 <= len(touched) <= 6
    assert touched.max() < BANDS
    assert (np.diff(touched) == 1).all()
    np.testing.assert_allclose(after[:, touched], before[:, :BANDS].mean(), atol=1e-4)


def test_band_shift_moves_the_spectrum_and_repeats_its_end():
    before = np.tile(np.arange(BANDS + len(PROSODY_NAMES), dtype=np.float32), (5, 1))
    seen = set()
    for seed in range(12):
        values = AudioAugment(num_mels=BANDS, **{**NO_SOUND, "band_shift": 1})
        after = values({"log_mel": before}, np.array([5]), draw(seed))["log_mel"]
        seen.add(tuple(after[0, :3].tolist()))
        np.testing.assert_array_equal(after[:, BANDS:], before[:, BANDS:])
    assert seen == {(0.0, 1.0, 2.0), (0.0, 0.0, 1.0), (1.0, 2.0, 3.0)}


def test_sounds_of_a_batch_do_not_leak_into_each_other():
    lengths = np.array([30, 50])
    values = np.concatenate([np.full((30, 20), -9.0), np.full((50, 20), 3.0)]).astype(np.float32)
    augment = AudioAugment(num_mels=BANDS, shift=0.0, noise=0.0, time_masks=3, time_mask=0.5, band_masks=3)
    for seed in range(5):
        np.testing.assert_allclose(augment({"log_mel": values}, lengths, draw(seed))["log_mel"], values, atol=1e-4)


# Texts


def test_dropout_hides_tokens_and_spares_one():
    lengths = np.array([200, 1, 3])
    before = texts(lengths)["ids"]
    after = TextAugment(dropout=0.5, span=0.0)({"ids": before}, lengths, draw())["ids"]
    hidden = after == MASK_ID
    np.testing.assert_array_equal(after[~hidden], before[~hidden])
    assert 0.35 < hidden[:200].mean() < 0.65
    everything = TextAugment(dropout=1.0)({"ids": before}, lengths, draw())["ids"]
    kept = [part != MASK_ID for part in np.split(everything, np.cumsum(lengths)[:-1])]
    assert [part.sum() for part in kept] == [1, 1, 1]


def test_span_hides_one_short_run():
    lengths = np.full(50, 12)
    before = texts(lengths)["ids"]
    after = TextAugment(dropout=0.0, span=1.0, span_length=9)({"ids": before}, lengths, draw())["ids"].reshape(50, 12)
    sizes = (after == MASK_ID).sum(axis=1)
    assert sizes.max() == 4
    # One run: at most one start (the spared token may cut it in two)
    starts = ((after == MASK_ID) & (np.roll(after, 1, axis=1) != MASK_ID)).sum(axis=1)
    assert (starts <= 2).all()
    assert (starts <= 1).mean() > 0.8


# Tables


def test_lost_cells_are_flagged_and_one_is_kept():
    before = table()
    after = TableAugment(dropout=0.5, jitter=0.0)(before, np.ones(200), draw())
    lost = after["missing"] & ~before["missing"]
    assert not (before["missing"] & ~after["missing"]).any()
    assert 0.3 < lost.sum() / (~before["missing"]).sum() < 0.5
    assert (after["numbers"][after["missing"][:, :4]] == 0).all()
    assert (after["categories"][after["missing"][:, 4:]] == 1).all()
    np.testing.assert_array_equal(after["numbers"][~lost[:, :4]], before["numbers"][~lost[:, :4]])
    np.testing.assert_array_equal(after["categories"][~lost[:, 4:]], before["categories"][~lost[:, 4:]])
    alone = TableAugment(dropout=1.0)(before, np.ones(200), draw())["missing"]
    assert ((~alone).sum(axis=1) == 1).all()
    assert not (~alone & before["missing"]).any()


def test_jitter_shakes_known_numbers_alone():
    before = table(4000)
    after = TableAugment(dropout=0.0, jitter=0.1)(before, np.ones(4000), draw())
    moved = after["numbers"] - before["numbers"]
    known = ~before["missing"][:, :4]
    assert (moved[~known] == 0).all()
    assert abs(moved[known].std() - 0.1) < 0.005
    np.testing.assert_array_equal(after["categories"], before["categories"])
    np.testing.assert_array_equal(after["missing"], before["missing"])


def test_a_room_adds_power_that_dies_away_as_said():
    frames, hop_s, decay_s = 80, 0.01, 0.4
    values = {"log_mel": np.full((frames, BANDS), FLOOR, np.float32)}
    values["log_mel"][5] = 0.0
    room = AudioAugment(
        num_mels=BANDS, reverberation=1.0, decay_s=(decay_s, decay_s), room_db=(-6, -6), hop_s=hop_s, **NO_SOUND
    )
    found = room(values, np.array([frames]), draw())["log_mel"].astype(np.float64)
    np.testing.assert_array_equal(found[:6], values["log_mel"][:6])
    levels = 10 / np.log(10) * found[6:25, 0]
    np.testing.assert_allclose(np.diff(levels), -60 * hop_s / decay_s, atol=0.05)
    assert np.exp(found[6:]).sum(axis=0)[0] == pytest.approx(10**-0.6, rel=0.03)


def test_rooms_are_for_some_sounds_and_leave_prosody_alone():
    lengths = [30] * 40
    values = sounds(lengths)
    room = AudioAugment(num_mels=BANDS, reverberation=0.4, **NO_SOUND)
    found = room(values, np.array(lengths), draw())["log_mel"]
    np.testing.assert_array_equal(found[:, BANDS:], values["log_mel"][:, BANDS:])
    changed = (found != values["log_mel"]).reshape(40, -1).any(axis=1)
    assert 8 <= changed.sum() <= 24
    assert np.isfinite(found).all()
    assert (found[:, :BANDS] >= values["log_mel"][:, :BANDS] - 1e-5).all()
    policy = Augmenter.default({"voice": Modality.AUDIO}, 0.5, reverberation=0.3).policy["voice"]
    assert policy.reverberation == 0.3


def test_hidden_tags_are_unknown_and_one_is_spared():
    lengths = np.array([30, 1, 9])
    values = {"tags": np.arange(2, 42, dtype=np.int32)}
    found = TagsAugment(dropout=1.0)(values, lengths, draw())["tags"]
    assert [int((part > 0).sum()) for part in np.split(found, [30, 31])] == [1, 1, 1]
    assert (TagsAugment(dropout=0.0)(values, lengths, draw())["tags"] == values["tags"]).all()


def test_places_are_shaken_by_kilometres_and_stay_on_the_globe():
    from omnifuse.data.place import distance_km

    for latitude in (0.0, 60.0, -75.0):
        values = {"degrees": np.tile([latitude, 20.0], (4000, 1))}
        found = PlaceAugment(jitter_km=10.0)(values, np.ones(4000, np.int64), draw())["degrees"]
        # The mean length of a normal step in the plane
        mean = distance_km(found, np.array([latitude, 20.0])).mean()
        assert mean == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.04)
    polar = PlaceAugment(jitter_km=3000.0)(
        {"degrees": np.tile([89.0, 179.0], (500, 1))}, np.ones(500, np.int64), draw()
    )
    assert np.abs(polar["degrees"][:, 0]).max() <= 90
    assert (polar["degrees"][:, 1] >= -180).all()
    assert (polar["degrees"][:, 1] < 180).all()


# Series

LENGTHS = [60, 1, 2, 200]
NO_SERIES = {"jitter": 0.0, "scaling": 0.0, "warp": 0.0, "gaps": 0.0}


def changed_series(seed=0, **options):
    before = series(LENGTHS)
    return before, SeriesAugment(**{**NO_SERIES, **options})(before, np.array(LENGTHS), draw(seed))


def parted(array):
    return np.split(array, np.cumsum(LENGTHS)[:-1])


def test_series_without_any_change():
    before, after = changed_series()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_series_jitter_and_scaling_leave_gaps_and_times():
    for option in ("jitter", "scaling"):
        before, after = changed_series(**{option: 0.1})
        np.testing.assert_array_equal(after["observed"], before["observed"])
        np.testing.assert_array_equal(after["time_s"], before["time_s"])
        assert (after["values"][~after["observed"]] == 0).all()
        apart = (after["values"] - before["values"])[after["observed"]]
        assert 0.01 < apart.std() < 0.3
    seen = before["observed"][:60, 0]
    ratio = after["values"][:60, 0][seen] / before["values"][:60, 0][seen]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_series_gaps_are_one_run_and_something_stays():
    for seed in range(20):
        before, after = changed_series(seed, gaps=1.0, gap=1.0)
        np.testing.assert_array_equal(after["time_s"], before["time_s"])
        for old, new in zip(parted(before["observed"]), parted(after["observed"]), strict=True):
            assert new.any() or not old.any()
            lost = np.flatnonzero((old & ~new).any(axis=1))
            if len(lost):
                inside = old[lost[0] : lost[-1] + 1]
                assert not new[lost[0] : lost[-1] + 1][inside].any()
        kept = after["observed"]
        np.testing.assert_array_equal(after["values"][kept], before["values"][kept])


def test_series_window_warp_changes_the_pace_of_one_window_and_keeps_order_and_end():
    before, after = changed_series(3, warp=1.0, warp_factor=2.0)
    np.testing.assert_array_equal(after["values"], before["values"])
    for old, new in zip(parted(before["time_s"]), parted(after["time_s"]), strict=True):
        np.testing.assert_allclose(new[-1], old[-1], rtol=1e-5)
        assert (np.diff(new) > 0).all()
        ratio = np.diff(new) / np.diff(old) if len(new) > 1 else np.ones(1)
        changed = np.flatnonzero(np.abs(ratio - 1) > 1e-3)
        assert ((ratio > 0.49) & (ratio < 2.01)).all()
        if len(changed):
            np.testing.assert_allclose(ratio[changed[0] : changed[-1] + 1], ratio[changed[0]], rtol=1e-2)
    assert (after["time_s"] != before["time_s"]).any()


def test_frames_of_a_clip_are_changed_alike():
    frame = draw(1).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8)
    pixels = np.repeat(frame, 9, axis=0)
    values = {"pixels": pixels, "time_s": np.arange(9, dtype=np.float32)}
    augment = VideoAugment(ImageAugment(warped=1, erase=1, rand=3), dropout=0.5)
    after = augment(values, np.array([5, 4]), draw())
    for clip in (after["pixels"][:5], after["pixels"][5:]):
        assert (clip == clip[:1]).all()
        assert (clip[0] != frame[0]).any()
    assert (after["pixels"][0] != after["pixels"][5]).any()
    assert after["time_s"] is values["time_s"]


def test_a_lost_frame_leaves_the_one_before_it_of_the_same_clip():
    pixels = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (60, 2, 2, 3)).copy()
    lengths = np.array([1, 29, 30])
    still = VideoAugment(ImageAugment(**NO_PICTURE), dropout=0.4)
    shown = still({"pixels": pixels}, lengths, draw())["pixels"][:, 0, 0, 0].astype(int)
    assert (shown[[0, 1, 30]] == [0, 1, 30]).all()
    assert (np.diff(shown) >= 0).all()
    assert (shown <= np.arange(60)).all()
    assert (shown[30:] >= 30).all()
    assert 0.2 < np.mean(shown != np.arange(60)) < 0.6
    none = VideoAugment(ImageAugment(**NO_PICTURE), dropout=0)({"pixels": pixels}, lengths, draw())["pixels"]
    np.testing.assert_array_equal(none, pixels)
    with pytest.raises(InputError, match="dropout of VideoAugment must be 0 to 1"):
        VideoAugment(dropout=2)
