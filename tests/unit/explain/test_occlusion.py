"""Parts of fields: spans, grids, stretches, and what stands in the place of a hidden part."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.tags import EMPTY_SET, TagsPreprocessor
from omnifuse.data.text import TextPreprocessor
from omnifuse.explain.occlusion import grid_side, occlusions, words_of
from omnifuse.explain.probe import packed
from omnifuse.schema import Modality


def test_words_have_the_spans_where_they_stand():
    text = "Two  bricks,\u00e9tage \u706b\u4e8b"
    assert [text[start:end] for start, end in words_of(text)] == ["Two", "bricks,\u00e9tage", "\u706b", "\u4e8b"]
    assert words_of("") == words_of("  ") == []
    long = " ".join(f"w{number}" for number in range(1000))
    spans = words_of(long, most=10)
    assert len(spans) == 10
    assert " ".join(long[start:end] for start, end in spans) == long


def test_a_word_is_cut_out_of_the_text_as_it_is_read():
    text = TextPreprocessor.fit(["red house", "blue house"] * 5)
    found = occlusions(Modality.TEXT, text("red house"), text, "red\x07house".replace("\x07", " "))
    assert found.seen == "red house"
    assert [part.what for part in found.parts] == ["red", "house"]
    np.testing.assert_array_equal(found.parts[0].arrays["ids"], text(" house")["ids"])
    assert found.parts[1].where == {"start": 4, "end": 9}


SIZES = [(32, 32, 1, 4), (48, 64, 1, 6), (96, 96, 1, 8), (96, 96, 2, 4)]


@pytest.mark.parametrize(("height", "width", "count", "side"), SIZES)
def test_tiles_cover_a_picture_once(height, width, count, side):
    assert grid_side(height, width, count) == side
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)
    found = occlusions(Modality.IMAGE, {"pixels": pixels}, None, None)
    assert found.grid == (count, side, side)
    assert len(found.parts) == count * side**2
    covered = np.zeros((count, height, width), int)
    for part in found.parts:
        changed = part.arrays["pixels"]
        box = part.where
        top, bottom = round(box["top"] * height), round(box["bottom"] * height)
        left, right = round(box["left"] * width), round(box["right"] * width)
        covered[box["picture"], top:bottom, left:right] += 1
        tile = changed[box["picture"], top:bottom, left:right]
        mean = pixels[box["picture"]].reshape(-1, 3).mean(axis=0)
        assert np.abs(tile - mean).max() <= 0.5
        assert (changed != pixels).any(axis=-1).sum() <= tile.shape[0] * tile.shape[1]
    assert (covered == 1).all()


def test_stretches_of_a_sound_get_its_mean():
    sound = AudioPreprocessor(rate_hz=8000)
    arrays = sound(np.sin(np.arange(8000) / 5))
    found = occlusions(Modality.AUDIO, arrays, sound, None)
    assert len(found.parts) == 12
    assert found.parts[0].where["start_s"] == 0.0
    assert found.parts[-1].where["end_s"] == pytest.approx(len(arrays["log_mel"]) * 0.01)
    changed = found.parts[0].arrays["log_mel"]
    np.testing.assert_allclose(changed[0], arrays["log_mel"].mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(changed[-1], arrays["log_mel"][-1])
    assert found.seen.shape == (len(arrays["log_mel"]),)
    assert np.isfinite(found.seen).all()


def test_stretches_of_a_series_are_not_observed():
    arrays = {
        "values": np.ones((5, 2), np.float32),
        "observed": np.array([[True, False]] * 5),
        "time_s": np.arange(-4, 1, dtype=np.float32),
    }
    found = occlusions(Modality.SERIES, arrays, None, None)
    assert len(found.parts) == 5
    assert not found.parts[1].arrays["observed"][1].any()
    assert found.parts[1].arrays["observed"].sum() == 4
    assert found.parts[1].where == {"start_s": -3.0, "end_s": -3.0}
    one = {name: array[:1] for name, array in arrays.items()}
    assert occlusions(Modality.SERIES, one, None, None).parts[0].arrays is None


def test_frames_and_tags():
    clip = {"pixels": np.zeros((3, 8, 8, 3), np.uint8), "time_s": np.array([0, 1, 2], np.float32)}
    clip["pixels"][1] = 90
    found = occlusions(Modality.VIDEO, clip, None, None)
    assert (found.parts[1].arrays["pixels"][1] == 30).all()
    tags = TagsPreprocessor(("old", "wood"))
    found = occlusions(Modality.TAGS, tags("old|wood"), tags, None)
    assert [part.what for part in found.parts] == ["old", "wood"]
    assert found.parts[0].arrays["tags"].tolist() == tags("wood")["tags"].tolist()
    assert occlusions(Modality.TAGS, tags("old"), tags, None).parts[0].arrays["tags"].tolist() == [EMPTY_SET]
    assert occlusions(Modality.TAGS, tags(""), tags, None).parts == ()
    assert occlusions(Modality.DATE, {}, None, None) is None


def test_rows_are_packed_with_holes():
    rows = [{"ids": np.array([1, 2])}, None, {"ids": np.array([3])}]
    pack = packed(rows, rows[0])
    assert pack.present.tolist() == [True, False, True]
    assert pack.row(2)["ids"].tolist() == [3]
    assert packed([None], rows[0]).arrays["ids"].shape == (0,)
