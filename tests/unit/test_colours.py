"""Which colours a picture has: shares that sum to one, move little by little, and are no feature of grey pictures."""

from __future__ import annotations

import numpy as np
import torch

from omnifuse.encoders.colours import LEVELS, Colours


def pictures(*colours, side=40):
    """Pictures of one colour each, (P, side, side, 3)."""
    return torch.tensor(colours, dtype=torch.uint8)[:, None, None, :].expand(-1, side, side, 3).contiguous()


def measured(*shown):
    found = Colours()
    found.initialise(pictures(*shown))
    return found


def test_a_colour_of_a_level_is_all_its_own():
    shares = measured((255, 0, 0))(pictures((255, 0, 0), (0, 255, 255), (0, 0, 0)))
    wanted = torch.zeros(3, Colours.width)
    top = LEVELS - 1
    wanted[0, top * LEVELS**2] = wanted[1, top * LEVELS + top] = wanted[2, 0] = 1
    torch.testing.assert_close(shares, wanted)


def test_squares_sum_to_one_and_a_little_light_moves_them_little():
    draw = np.random.default_rng(0)
    shown = torch.from_numpy(draw.integers(10, 240, (4, 40, 52, 3), dtype=np.uint8))
    colours = Colours()
    colours.initialise(shown)
    shares = colours(shown)
    torch.testing.assert_close(shares.square().sum(dim=1), torch.ones(4))
    assert float((shares - colours(shown + 1)).norm(dim=1).max()) < 0.05


def test_half_of_each_colour_is_half_of_each_share_wherever_they_are():
    first = pictures((255, 0, 0))
    first[:, :20] = torch.tensor((0, 0, 255), dtype=torch.uint8)
    shares = measured((255, 0, 0))(torch.cat([first, first.flip(1), first.transpose(1, 2)]))
    torch.testing.assert_close(shares[0].square().sort().values[-2:], torch.full((2,), 0.5))
    torch.testing.assert_close(shares[1], shares[0])
    torch.testing.assert_close(shares[2], shares[0])


def test_grey_training_pictures_give_zeros():
    assert not measured((10, 10, 10), (200, 201, 199))(pictures((255, 0, 0))).any()
    assert not Colours()(pictures((255, 0, 0))).any()
