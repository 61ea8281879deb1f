"""A step of Muon against the iteration written out in float64, and the step of its neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from omnifuse.training.optimiser import make_optimiser

RATE, DECAY, MOMENTUM = 0.01, 0.1, 0.95


def newton_schulz(matrix):
    """Five steps of the quintic iteration of Jordan et al. 2024 in float64: singular values go to about 1."""
    values = matrix / np.linalg.norm(matrix)
    turned = values.shape[0] > values.shape[1]
    values = values.T if turned else values
    for _ in range(5):
        square = values @ values.T
        values = 3.4445 * values + (-4.7750 * square + 2.0315 * square @ square) @ values
    return values.T if turned else values


class Net(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.encoders = nn.ModuleList([nn.Linear(shape[1], shape[0]).double()])
        self.tasks = nn.ModuleList([nn.Linear(3, 2).double()])


@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4), (1, 8)])
def test_two_steps_of_muon_equal_the_iteration_written_out(shape):
    torch.manual_seed(0)
    net = Net(shape)
    optimiser = make_optimiser(net, learning_rate=RATE, weight_decay=DECAY, name="muon")
    layer = net.encoders[0]
    weight, momentum = layer.weight.detach().numpy().copy(), np.zeros(shape)
    for _ in range(2):
        before = weight
        gradient = torch.randn(shape, dtype=torch.float64)
        layer.weight.grad = gradient
        optimiser.step()
        slope = gradient.numpy()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * slope
        update = newton_schulz((1 - MOMENTUM) * slope + MOMENTUM * momentum)
        weight = weight * (1 - RATE * DECAY) - RATE * 0.2 * math.sqrt(max(shape)) * update
        # torch iterates in bfloat16, which has 8 bits
        np.testing.assert_allclose(layer.weight.detach().numpy(), weight, atol=0.03 * np.abs(weight - before).max())
        weight = layer.weight.detach().numpy().copy()


def test_a_step_is_about_as_long_as_one_of_adamw():
    """So that one learning rate suits both: a root mean square of 0.2 to 0.4 times the rate."""
    torch.manual_seed(0)
    net = Net((32, 48))
    optimiser = make_optimiser(net, learning_rate=RATE, weight_decay=0.0, name="muon")
    before = net.encoders[0].weight.detach().clone()
    net.encoders[0].weight.grad = torch.randn(32, 48, dtype=torch.float64) * 1e-4
    optimiser.step()
    step = (net.encoders[0].weight.detach() - before).square().mean().sqrt().item()
    assert 0.1 * RATE < step < 0.4 * RATE


def test_the_others_take_the_step_of_adamw():
    torch.manual_seed(0)
    net, peer = Net((6, 4)), Net((6, 4))
    peer.load_state_dict(net.state_dict())
    optimisers = [make_optimiser(item, learning_rate=RATE, weight_decay=DECAY, name=name)
                  for item, name in ((net, "muon"), (peer, "adamw"))]  # fmt: skip
    for _ in range(3):
        for parameter, other in zip(net.parameters(), peer.parameters(), strict=True):
            parameter.grad = torch.randn_like(parameter)
            other.grad = parameter.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, dict(peer.named_parameters())[name]) == (name != "encoders.0.weight")
