"""Weights in one piece of memory: the same training, every weight a view, memory of its own afterwards."""

import torch
from torch import nn

from omnifuse.training.flat import ALIGNMENT, flatten, release
from omnifuse.training.optimiser import make_optimiser, weights_of


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 2))


def test_weights_and_gradients_are_views_of_the_piece():
    net = network()
    before = [value.detach().clone() for value in net.parameters()]
    (piece,) = flatten(list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert piece.numel() == sum(-(-value.numel() // ALIGNMENT) * ALIGNMENT for value in before)
    net(torch.randn(4, 3)).square().sum().backward()
    total = sum(value.grad.square().sum() for value in net.parameters())
    assert torch.allclose(piece.grad.square().sum(), total)
    with torch.no_grad():
        piece.fill_(7.0)
        piece.grad.zero_()
    assert all(bool((value == 7).all()) and not value.grad.any() for value in net.parameters())


def test_each_type_of_number_has_a_piece():
    net = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).double()])
    assert sorted(str(piece.dtype) for piece in flatten(list(net.parameters()))) == ["torch.float32", "torch.float64"]


def test_training_is_that_of_separate_weights():
    nets = network(), network()
    optimisers = [
        make_optimiser(net, learning_rate=0.01, weight_decay=0.1, flat=flat)
        for net, flat in zip(nets, (False, True), strict=True)
    ]
    assert len(weights_of(optimisers[1])) == 2
    for number in range(5):
        rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
        for net, optimiser in zip(nets, optimisers, strict=True):
            optimiser.zero_grad(set_to_none=False)
            net(rows).square().mean().backward()
            optimiser.step()
    for mine, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_released_weights_keep_their_values_and_nothing_else():
    net = network()
    (piece,) = flatten(list(net.parameters()))
    before = [value.detach().clone() for value in net.parameters()]
    release(net)
    with torch.no_grad():
        piece.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert all(value.grad is None for value in net.parameters())
    assert all(value.untyped_storage().nbytes() == 4 * value.numel() for value in net.parameters())
