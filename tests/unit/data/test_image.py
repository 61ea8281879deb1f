"""Pictures brought to one size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from omnifuse.data.image import FITS, ImagePreprocessor, border_colour, suggest_image_size
from omnifuse.errors import InputError, MediaError

DRAW = np.random.default_rng(0)


def smooth(height, width):
    coarse = DRAW.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def pixels(value, *given):
    result = ImagePreprocessor(*given)(value)
    assert list(result) == ["pixels"]
    assert result["pixels"].dtype == np.uint8
    assert result["pixels"].shape == (1, given[0], given[1], 3)
    return result["pixels"][0]


@pytest.mark.parametrize("fit", FITS)
def test_right_size_is_kept_bit_by_bit_in_memory_of_its_own(fit):
    picture = DRAW.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    got = pixels(picture, 24, 40, fit)
    np.testing.assert_array_equal(got, picture)
    got[:] = 0
    assert picture.any()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(200, 300), (37, 11), (8, 90)])
def test_one_colour_stays_one_colour(fit, shape):
    picture = np.broadcast_to(np.array([10, 200, 90], np.uint8), (*shape, 3))
    np.testing.assert_array_equal(pixels(picture, 32, 48, fit), np.broadcast_to([10, 200, 90], (32, 48, 3)))


def test_padding_shows_the_whole_in_the_middle_of_its_border_colour():
    picture = np.full((40, 20, 3), 100, np.uint8)
    picture[5:35, 5:15] = 200
    got = pixels(picture, 40, 60, "pad")
    np.testing.assert_array_equal(got[:, 20:40], picture)
    assert (got[:, :20] == 100).all()
    assert (got[:, 40:] == 100).all()


def test_padding_keeps_the_aspect():
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 100:] = 255
    got = pixels(picture, 64, 64, "pad")
    inner = got[16:48]
    assert (inner[:, :30] < 10).all()
    assert (inner[:, 34:] > 245).all()


def test_picture_a_little_smaller_is_padded_not_blurred():
    picture = DRAW.integers(0, 256, (28, 28, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(picture, 32, 32, "pad")[2:30, 2:30], picture)
    assert not np.array_equal(pixels(picture[:20, :20], 32, 32, "pad")[6:26, 6:26], picture[:20, :20])


def test_cropping_fills_the_frame_from_the_middle():
    picture = np.zeros((30, 90, 3), np.uint8)
    picture[:, 30:60] = DRAW.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(picture, 30, 30, "crop"), picture[:, 30:60])
    tall = picture.transpose(1, 0, 2)
    np.testing.assert_array_equal(pixels(tall, 30, 30, "crop"), tall[30:60])


@pytest.mark.parametrize("shape", [(640, 640), (1000, 1000), (257, 131), (2000, 70)])
def test_shrinking_is_antialiased_as_pillow_does_it(shape):
    picture = smooth(*shape)
    got = pixels(picture, 32, 32, "stretch").astype(int)
    reference = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(got - reference).max() <= 3
    assert np.abs(got - reference).mean() < 0.6


def test_fine_stripes_turn_grey_not_into_other_stripes():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    got = pixels(stripes, 32, 32, "stretch").astype(int)
    assert np.abs(got - 127.5).max() < 12


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
)
def test_array_that_is_no_picture(value):
    with pytest.raises(MediaError, match=r"expected uint8 \(height, width, 3\) with at least one pixel"):
        ImagePreprocessor(8, 8)(value)


def test_options_that_are_not_possible():
    with pytest.raises(InputError, match=r"Unknown fit 'padd'.*did you mean 'pad'"):
        ImagePreprocessor(8, 8, "padd")
    for height, width in ((0, 8), (8, 0), (5000, 8)):
        with pytest.raises(InputError, match=f"must be 1 to 4096, received {height} and {width}"):
            ImagePreprocessor(height, width)
    with pytest.raises(InputError, match="at least 16, received 8"):
        suggest_image_size([(9, 9)], largest=8)


def test_size_is_chosen_from_the_pictures():
    assert ImagePreprocessor.fit([]) == ImagePreprocessor(64, 64)
    assert ImagePreprocessor.fit([(28, 28)] * 5) == ImagePreprocessor(32, 32)
    assert ImagePreprocessor.fit([(480, 640)], largest=96) == ImagePreprocessor(80, 96)
    assert ImagePreprocessor.fit([(640, 480)], largest=96) == ImagePreprocessor(96, 80)
    assert ImagePreprocessor.fit([(480, 640)], height=20, fit="crop") == ImagePreprocessor(20, 64, "crop")
    assert ImagePreprocessor.fit([(1, 10_000)]) == ImagePreprocessor(16, 64)


@pytest.mark.parametrize("largest", [16, 17, 24, 63, 64, 65, 100, 224])
@pytest.mark.parametrize("size", [(1, 1), (5, 900), (900, 5), (64, 64), (333, 77), (70, 70)])
def test_chosen_sizes_can_be_cut_into_patches(size, largest):
    for side in suggest_image_size([size], largest=largest):
        assert 16 <= side <= largest
        assert side % 8 == 0


def test_border_colour_is_the_mean_of_the_outermost_pixels():
    picture = np.zeros((5, 5, 3), np.uint8)
    picture[1:-1, 1:-1] = 255
    np.testing.assert_array_equal(border_colour(picture), [0, 0, 0])
    picture[0] = 80
    np.testing.assert_array_equal(border_colour(picture), [28, 28, 28])


def test_json_and_back():
    one = ImagePreprocessor(24, 40, "crop")
    assert ImagePreprocessor.from_json(json.loads(json.dumps(one.to_json()))) == one
