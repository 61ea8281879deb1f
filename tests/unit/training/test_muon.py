from __future__ import annotations

import torch

from omnifuse.training.checkpoint import pack_state, unpack_state
from omnifuse.training.muon import MuonBesideAdamW, hidden_matrices
from omnifuse.training.optimiser import WeightAverage, make_optimiser


def test_hidden_matrices_are_linear_weights_of_encoders_trunk_and_fusion(media_problem):
    network = media_problem.network(shared_trunk=1)
    names = {id(value): name for name, value in network.named_parameters()}
    chosen = {names[id(value)] for value in hidden_matrices(network)}
    modules = dict(network.named_modules())
    expected = {
        f"{name}.weight"
        for name, module in modules.items()
        if isinstance(module, torch.nn.Linear) and name.split(".")[0] in ("encoders", "trunk", "fusion")
    }
    assert chosen == expected
    assert {name.split(".")[0] for name in chosen} == {"encoders", "trunk", "fusion"}
    assert not any("embedding" in name for name in chosen)


def test_every_parameter_stands_once_and_the_rate_reaches_both(plain_problem):
    network = plain_problem.network()
    optimiser = make_optimiser(network, learning_rate=0.1, weight_decay=0.5, name="muon")
    listed = [id(value) for group in optimiser.param_groups for value in group["params"]]
    assert sorted(listed) == sorted(id(value) for value in network.parameters() if value.requires_grad)
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    before = [value.detach().clone() for value in network.parameters()]
    for value in network.parameters():
        value.grad = torch.ones_like(value)
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_without_hidden_matrices_it_is_adamw_alone():
    layer = torch.nn.Linear(2, 2)
    optimiser = make_optimiser(layer, learning_rate=0.1, weight_decay=0.0, name="muon")
    layer.weight.grad = torch.ones(2, 2)
    before = layer.weight.detach().clone()
    optimiser.step()
    assert not torch.equal(before, layer.weight)


def test_state_round_trip_is_exact(plain_problem):
    def made(seed):
        network = plain_problem.network(seed=seed)
        optimiser = make_optimiser(network, learning_rate=0.01, weight_decay=0.1, name="muon")
        return network, optimiser, WeightAverage(network.parameters(), share=0.5, steps=9)

    def step(network, optimiser, average, number):
        draw = torch.Generator().manual_seed(number)
        for value in network.parameters():
            value.grad = torch.randn(value.shape, generator=draw)
        optimiser.step()
        average.update(number)

    first, second = made(0), made(1)
    for number in range(2):
        step(*first, number)
    saved = {name: value.clone() for name, value in pack_state(*first).items()}
    assert any(name.endswith("/momentum_buffer") for name in saved)
    assert any(name.endswith("/exp_avg") for name in saved)
    unpack_state(saved, *second)
    assert isinstance(second[1], MuonBesideAdamW)
    for number in range(2, 4):
        step(*first, number)
        step(*second, number)
    assert all(torch.equal(a, b) for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True))
