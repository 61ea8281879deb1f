"""The warp and the colours against Pillow and against values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from omnifuse.data.augment_warp import affine_warp, parts, recolour, sharpen

DRAW = np.random.default_rng(0)
IDENTITY = np.eye(2, 3)


def test_identity_is_exact():
    pixels = DRAW.integers(0, 256, (5, 9, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(affine_warp(pixels, np.tile(IDENTITY, (5, 1, 1))), pixels)


def test_values_by_hand():
    pixels = np.zeros((1, 2, 3, 3), np.uint8)
    pixels[0, :, :, 0] = [[0, 100, 200], [40, 140, 240]]
    pixels[0, :, :, 1] = 255
    half_right = affine_warp(pixels, np.array([[[1, 0, 0.5], [0, 1, 0]]]))
    np.testing.assert_array_equal(half_right[0, :, :, 0], [[50, 150, 200], [90, 190, 240]])
    half_both = affine_warp(pixels, np.array([[[1, 0, 0.5], [0, 1, 0.5]]]))
    np.testing.assert_array_equal(half_both[0, :, :, 0], [[70, 170, 220], [90, 190, 240]])
    quarter_left = affine_warp(pixels, np.array([[[1, 0, -0.25], [0, 1, 0]]]))
    np.testing.assert_array_equal(quarter_left[0, :, :, 0], [[0, 75, 175], [40, 115, 215]])
    for warped in (half_right, half_both, quarter_left):
        assert (warped[..., 1] == 255).all()
        assert (warped[..., 2] == 0).all()


def test_far_outside_is_the_border():
    pixels = DRAW.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    far = np.tile(np.array([[1.0, 0, 1e9], [0, 1, -1e9]]), (2, 1, 1))
    np.testing.assert_array_equal(affine_warp(pixels, far), np.broadcast_to(pixels[:, :1, -1:], pixels.shape))


@pytest.mark.parametrize("degrees", [5.0, -17.0])
def test_as_pillow_inside_the_frame(degrees):
    coarse = Image.fromarray(DRAW.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((40, 32), Image.Resampling.BICUBIC))
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    centre = np.array([19.5, 15.5])
    own = np.concatenate([turn, (centre - turn @ centre)[:, None]], axis=1)
    # Pillow counts from the corner of a pixel, we from its centre
    corner = own[:, 2] + 0.5 - turn @ [0.5, 0.5]
    data = (*own[0, :2], corner[0], *own[1, :2], corner[1])
    expected = np.asarray(
        Image.fromarray(pixels).transform((40, 32), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    )
    found = affine_warp(pixels[None], own[None])[0]
    off = np.abs(found.astype(int) - expected)[8:-8, 8:-8]
    assert off.max() <= 12  # an eighth of a pixel on the steepest slope
    assert off.mean() < 2


def test_no_map_touches_another_picture():
    pixels = np.stack([np.full((6, 6, 3), value, np.uint8) for value in (0, 90, 255)])
    maps = np.tile(IDENTITY, (3, 1, 1)) + DRAW.normal(0, 0.5, (3, 2, 3))
    np.testing.assert_array_equal(affine_warp(pixels, maps), pixels)


def colours(pixels, brightness=0.0, contrast=1.0, saturation=1.0):
    one = np.ones(len(pixels))
    return recolour(pixels, brightness=one * brightness, contrast=one * contrast, saturation=one * saturation)


def test_colours_by_hand():
    pixels = np.array([[[[100, 100, 100], [200, 200, 200]]]], np.uint8)
    np.testing.assert_array_equal(colours(pixels), pixels)
    np.testing.assert_array_equal(colours(pixels, brightness=0.2)[0, 0, :, 0], [151, 251])
    np.testing.assert_array_equal(colours(pixels, brightness=0.5)[0, 0, :, 0], [228, 255])
    np.testing.assert_array_equal(colours(pixels, contrast=0.5)[0, 0, :, 0], [125, 175])
    np.testing.assert_array_equal(colours(pixels, saturation=0.0), pixels)
    red = np.array([[[[200, 0, 0]]]], np.uint8)
    # 0.299 * 200 = 59.8
    np.testing.assert_array_equal(colours(red, saturation=0.0)[0, 0, 0], [60, 60, 60])
    np.testing.assert_array_equal(colours(red, saturation=0.5)[0, 0, 0], [130, 30, 30])


def test_sharpen_by_hand():
    pixels = np.full((2, 3, 3, 3), 90, np.uint8)
    pixels[:, 1, 1] = 180
    # Mean of the nine is 100: the middle gains or loses a share of 80
    changed = sharpen(pixels, np.array([0.5, -0.5]))
    assert (changed[0, 1, 1] == 220).all()
    assert (changed[1, 1, 1] == 140).all()
    changed[:, 1, 1] = 90
    assert (changed == 90).all()


def test_parts_cover_all():
    pixels = np.zeros((100, 64, 64, 3), np.uint8)
    cut = parts(np.arange(100), pixels)
    np.testing.assert_array_equal(np.concatenate(cut), np.arange(100))
    assert len(cut) > 5
    assert parts(np.arange(0), pixels) == []
