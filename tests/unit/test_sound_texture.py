"""Texture of sounds: rates are found where they are, and no sound is out of bounds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from omnifuse.encoders import ConvAudioEncoder
from omnifuse.encoders.sound_texture import FLOOR, RATE_EDGES, STEP, WINDOW, SoundTexture
from omnifuse.tokens import FieldBatch

MELS = 20
RATES = len(RATE_EDGES) - 1


def _all(frames: Tensor) -> Tensor:
    return torch.ones(frames.shape[:2], dtype=torch.bool)


def _slow(frames: Tensor) -> Tensor:
    """The rates of one sound (F, M), window by window in float64."""
    owner = torch.arange(MELS) * 8 // MELS
    bands = torch.stack([frames[:, owner == band].double().mean(dim=1) for band in range(8)], dim=1)
    bands = bands - bands.mean(dim=0)
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    number = max(0, math.ceil((len(bands) - WINDOW) / STEP)) + 1
    bands = torch.cat([bands, bands.new_zeros(WINDOW, 8)])
    parts = [bands[STEP * i : STEP * i + WINDOW] * window[:, None] for i in range(number)]
    power = torch.stack([torch.fft.rfft(part, dim=0).abs() ** 2 for part in parts]).mean(dim=0)
    power = power / window.square().sum()
    groups = [power[low:high].mean(dim=0) for low, high in itertools.pairwise(RATE_EDGES)]
    return (torch.stack(groups, dim=1) + FLOOR).log()


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 160, 161, 400])
def test_rates_equal_a_transform_of_each_window(length):
    frames = torch.randn(length, MELS + 3, generator=torch.Generator().manual_seed(length)) * 3 - 6
    found = SoundTexture(MELS).measure(frames[None], _all(frames[None]))
    assert torch.allclose(found[0, : 8 * RATES].view(8, RATES).double(), _slow(frames[:, :MELS]), atol=1e-3)
    assert torch.equal(found[0, 8 * RATES :], frames[:, :MELS].amax(dim=0))


def test_a_faster_beat_lies_in_a_higher_group():
    texture, time = SoundTexture(MELS), torch.arange(512.0)
    for group, rate in enumerate((1, 2, 4, 6, 10, 17, 27, 44)):
        frames = torch.sin(2 * math.pi * rate / WINDOW * time)[None, :, None].expand(1, -1, MELS)
        rates = texture.measure(frames, _all(frames))[0, : 8 * RATES].view(8, RATES)
        assert (rates.argmax(dim=1) == group).all(), rate


def test_loudness_moves_the_peaks_alone():
    texture, frames = SoundTexture(MELS), torch.randn(2, 300, MELS)
    quiet, loud = (texture.measure(frames + level, _all(frames)) for level in (0.0, 3.0))
    assert torch.allclose(quiet[:, : 8 * RATES], loud[:, : 8 * RATES], atol=1e-3)
    assert torch.allclose(quiet[:, 8 * RATES :] + 3, loud[:, 8 * RATES :], atol=1e-5)


def test_a_row_is_the_same_alone_and_among_longer_ones():
    lengths = (1, 90, 129, 330)
    sounds = [torch.randn(length, MELS) - 5 for length in lengths]
    padded = torch.nn.utils.rnn.pad_sequence([*sounds, torch.zeros(500, MELS)], batch_first=True, padding_value=7.0)
    mask = torch.arange(500) < torch.tensor([*lengths, 500])[:, None]
    together = SoundTexture(MELS).measure(padded, mask)
    for row, sound in enumerate(sounds):
        alone = SoundTexture(MELS).measure(sound[None], _all(sound[None]))
        assert torch.allclose(together[row], alone[0], atol=1e-4), lengths[row]


@pytest.mark.parametrize("num_mels", [1, 5, 64])
def test_any_sound_is_finite_and_limited(num_mels):
    texture = SoundTexture(num_mels)
    texture.initialise(torch.randn(6, 200, num_mels), torch.ones(6, 200, dtype=torch.bool))
    silent = torch.full((1, 300, num_mels), math.log(1e-6))
    for frames in (silent, silent[:, :1], 1e4 * torch.randn(1, 300, num_mels), torch.zeros(0, 0, num_mels)):
        found = texture(frames, _all(frames))
        assert found.shape == (len(frames), texture.width)
        assert found.isfinite().all()
        # 5 deviations in every feature
        assert (found.square().sum(dim=1) <= 25.01).all()


def test_the_summary_of_an_encoder_holds_statistics_and_texture():
    torch.manual_seed(0)
    encoder = ConvAudioEncoder(dim=16, num_mels=MELS, num_columns=MELS + 3)
    lengths = torch.tensor([150, 40, 1, 260, 90])
    frames = torch.randn(int(lengths.sum()), MELS + 3) - 4
    batch = FieldBatch({"log_mel": frames}, lengths, torch.ones(5, dtype=torch.bool))
    encoder.initialise(batch)
    summary = encoder.summarise(batch)
    assert summary.shape == (5, encoder.summary_dim) == (5, encoder.statistics.width + 8 * RATES + MELS)
    assert torch.equal(summary, encoder.summarise(batch))
    length = summary.square().sum(dim=1)
    assert 0.5 < float(length.mean()) < 1.5
    # Statistics weigh twice as much as texture
    texture = summary[:, encoder.statistics.width :].square().sum(dim=1)
    assert 0.25 < float(texture.mean() / length.mean()) < 0.42
    nobody = FieldBatch({"log_mel": frames[:0]}, lengths[:0], torch.zeros(5, dtype=torch.bool))
    assert encoder.summarise(nobody).shape == (0, encoder.summary_dim)
