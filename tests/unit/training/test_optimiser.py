from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from omnifuse.training.optimiser import WeightAverage, make_optimiser, rate_factor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mark = nn.Parameter(torch.ones(2, 3))
        self.words = nn.Embedding(5, 3)
        self.conv = nn.Conv2d(1, 2, 3)
        self.linear = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_only_matrices_of_layers_decay_and_each_parameter_stands_once():
    model = Net()
    decayed, kept = make_optimiser(model, learning_rate=0.1, weight_decay=0.5).param_groups
    assert {id(value) for value in decayed["params"]} == {id(model.conv.weight), id(model.linear.weight)}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    trainable = [value for value in model.parameters() if value.requires_grad]
    assert len(decayed["params"]) + len(kept["params"]) == len(trainable)
    assert not {id(value) for value in model.frozen.parameters()} & {
        id(value) for group in (decayed, kept) for value in group["params"]
    }


def test_decay_of_one_step_by_hand():
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 2.0)
    optimiser = make_optimiser(layer, learning_rate=0.1, weight_decay=0.5)
    layer.weight.grad, layer.bias.grad = torch.zeros(1, 1), torch.zeros(1)
    optimiser.step()
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5))
    assert layer.bias.item() == 2.0


def test_rate_rises_then_falls_as_a_half_cosine():
    steps = [rate_factor(step, 200, 0.1) for step in range(200)]
    assert steps[:20] == pytest.approx([(number + 1) / 20 for number in range(20)])
    assert all(first >= second for first, second in itertools.pairwise(steps[19:]))
    assert steps[110] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 90 / 180)))
    assert 0.01 <= steps[-1] < 0.012


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_rate_of_very_short_plans_stays_between_0_and_1(steps):
    assert all(0 < rate_factor(step, steps, warm) <= 1 for step in range(steps + 2) for warm in (0.0, 0.1, 1.0))


def test_average_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    average = WeightAverage(layer.parameters(), share=0.5, steps=40)
    assert average.decay == pytest.approx(0.9)
    expected = 1.0
    for step, value in enumerate([2.0, 3.0, 5.0]):
        nn.init.constant_(layer.weight, value)
        average.update(step)
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * value
    assert average.values[0].item() == pytest.approx(expected)
    average.use()
    assert layer.weight.item() == pytest.approx(expected)


def test_no_share_keeps_the_last_weights():
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer.parameters(), share=0.0, steps=100)
    for step in range(50):
        nn.init.constant_(layer.weight, float(step))
        average.update(step)
    assert average.values[0].item() == 49.0
