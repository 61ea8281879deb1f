from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.made_video import moving_square

from omnifuse.encoders import FrameVideoEncoder, SpaceTimeVideoEncoder
from omnifuse.encoders.video import MAX_TOKENS, ClockEmbedding, MotionThumbnails
from omnifuse.tokens import FieldBatch

ENCODERS = (FrameVideoEncoder, SpaceTimeVideoEncoder)


def batch_of(clips: list[np.ndarray], *, pace_s: float = 0.1) -> FieldBatch:
    lengths = torch.tensor([len(clip) for clip in clips])
    times = torch.cat([torch.arange(len(clip)) * pace_s for clip in clips])
    pixels = torch.from_numpy(np.concatenate(clips))
    return FieldBatch({"pixels": pixels, "time_s": times}, lengths, torch.ones(len(clips), dtype=torch.bool))


def built(encoder, **options):
    torch.manual_seed(0)
    return encoder(dim=16, height=16, width=16, depth=1, num_heads=2, **options)


def clips(count: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [moving_square(1 if number % 2 else -1, draw, count=6, side=16) for number in range(count)]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_order_and_times_matter(encoder):
    part = built(encoder).eval()
    part.initialise(batch_of(clips(4)))
    forwards, slower = (part(batch_of(clips(1), pace_s=pace)).values for pace in (0.1, 0.2))
    backwards = part(batch_of([clips(1)[0][::-1].copy()])).values
    assert not torch.allclose(forwards, slower, atol=1e-3)
    assert not torch.allclose(forwards, backwards.flip(1), atol=1e-3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_token_a_frame_up_to_a_limit(encoder):
    part = built(encoder).eval()
    long = [np.zeros((count, 16, 16, 3), np.uint8) for count in (5, 32, 100)]
    masks = [part(batch_of([clip])).mask for clip in long]
    assert [int(mask.sum()) for mask in masks] == [5, 32, 25]
    assert part(batch_of(long)).mask.shape[1] <= MAX_TOKENS


def test_thumbnails_by_hand():
    frames = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (0, 51, 102)])
    batch = batch_of([frames, frames[::-1].copy(), frames[:1]])
    found = MotionThumbnails().measure(batch)
    mean, spread, trend = found.split(192, dim=1)
    torch.testing.assert_close(mean[:, 0], torch.tensor([0.2, 0.2, 0.0]))
    torch.testing.assert_close(spread[:, 0], torch.tensor([0.02667, 0.02667, 0.0]).sqrt(), atol=2e-4, rtol=0)
    torch.testing.assert_close(trend[:, 0], torch.tensor([0.4 / 3, -0.4 / 3, 0.0]))


def test_clock_counts_in_lengths_of_the_training_clips():
    times = torch.tensor([0.0, 1.0, 2.0, 0.0, 4.0])
    clock = ClockEmbedding(8).eval()
    clock.initialise(times, torch.tensor([3, 2]))
    assert float(clock.length_s) == 3.0
    twice = ClockEmbedding(8).eval()
    twice.load_state_dict(clock.state_dict())
    twice.length_s.mul_(2)
    torch.testing.assert_close(clock(times), twice(2 * times))
    assert bool(clock(torch.tensor([0.0, 1e9])).isfinite().all())
    still = ClockEmbedding(8)
    still.initialise(torch.zeros(3), torch.tensor([1, 1, 1]))
    assert bool(still(torch.zeros(3)).isfinite().all())
