"""The checks of the contract themselves find what they are for."""

from __future__ import annotations

import pytest
import torch
from tests.contract.parts import assert_all_trained, assert_round_trip, hidden_parameters, seeded
from torch import nn


class Lost(nn.Module):
    """Keeps a factor in a plain list, as MultiBench's LowRankTensorFusion does."""

    def __init__(self):
        super().__init__()
        self.kept = nn.Parameter(torch.randn(3))
        self.factors = [nn.Parameter(torch.randn(3))]


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))


class Forgetful(nn.Module):
    """Has state that is not in its state."""

    def __init__(self):
        super().__init__()
        self.weight, self.shift = nn.Parameter(torch.randn(3)), torch.randn(3)


def test_a_parameter_in_a_list_is_found():
    module = Lost()
    assert hidden_parameters(module) == [".factors"]
    with pytest.raises(AssertionError):
        assert_all_trained(module, module.kept.sum())


def test_a_parameter_without_gradient_is_found():
    module = Unused()
    with pytest.raises(AssertionError, match="unused has no gradient"):
        assert_all_trained(module, module.used.sum())
    with pytest.raises(AssertionError, match="gradient of unused is zero"):
        assert_all_trained(module, module.used.sum() + 0 * module.unused.sum())
    with pytest.raises(AssertionError, match="gradient of used is not finite"):
        assert_all_trained(module, (module.used * float("inf")).sum() + module.unused.sum())


def test_state_outside_the_state_is_found():
    with pytest.raises(AssertionError):
        assert_round_trip(lambda seed: seeded(Forgetful, seed=seed), lambda module: module.weight + module.shift)
