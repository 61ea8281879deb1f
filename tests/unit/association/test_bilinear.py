"""Bilinear layers against loops and values by hand."""

from __future__ import annotations

import torch

from omnifuse.association import BilinearAssociation, FactorisedBilinear, LowRankBilinear


def test_full_form_is_x_w_y():
    torch.manual_seed(0)
    layer = BilinearAssociation(4, 3)
    torch.nn.init.normal_(layer.bias)
    first, second = torch.randn(5, 4), torch.randn(5, 4)
    found = layer(first, second)
    for row in range(5):
        for output in range(3):
            wanted = first[row] @ layer.weight[output] @ second[row] + layer.bias[output]
            torch.testing.assert_close(found[row, output], wanted)


def test_full_form_against_torch():
    torch.manual_seed(0)
    layer, peer = BilinearAssociation(6, 2), torch.nn.Bilinear(6, 6, 2)
    peer.load_state_dict(layer.state_dict())
    first, second = torch.randn(7, 6), torch.randn(7, 6)
    torch.testing.assert_close(layer(first, second), peer(first, second))


def test_low_rank_by_hand():
    layer = LowRankBilinear(2, 1, 1)
    with torch.no_grad():
        layer.first.weight.copy_(torch.tensor([[1.0, 0.0]]))
        layer.second.weight.copy_(torch.tensor([[0.0, 1.0]]))
        layer.output.weight.fill_(3.0)
        for part in (layer.first, layer.second):
            part.bias.zero_()
        layer.output.bias.fill_(0.5)
    found = layer(torch.tensor([[0.4, 9.0]]), torch.tensor([[-7.0, -0.3]]))
    # 3 * tanh(0.4) * tanh(-0.3) + 0.5
    assert abs(found.item() - (3 * 0.3799490 * -0.2913126 + 0.5)) < 1e-6


def test_low_rank_has_far_fewer_weights():
    def count(module):
        return sum(item.numel() for item in module.parameters())

    assert count(LowRankBilinear(64, 8, 32)) * 50 < count(BilinearAssociation(64, 32))


def test_factorised_pooling_by_loops():
    torch.manual_seed(0)
    layer = FactorisedBilinear(5, 3, 4).eval()
    first, second = torch.randn(6, 5), torch.randn(6, 5)
    found = layer(first, second)
    for row in range(6):
        one, two = layer.first(first[row]).tolist(), layer.second(second[row]).tolist()
        sums = [sum(one[4 * o + k] * two[4 * o + k] for k in range(4)) for o in range(3)]
        rooted = torch.tensor([(abs(value) ** 0.5) * (1 if value > 0 else -1) for value in sums])
        torch.testing.assert_close(found[row], rooted / rooted.norm(), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))


def test_factorised_pooling_has_slopes_at_zero():
    layer = FactorisedBilinear(4, 2)
    first = torch.zeros(1, 4, requires_grad=True)
    with torch.no_grad():
        layer.first.bias.zero_()
    layer(first, torch.ones(1, 4)).sum().backward()
    assert bool(first.grad.isfinite().all())
