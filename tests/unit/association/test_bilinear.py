"""Bilinear layers against loops and values by hand."""

from __future__ import annotations

import torch

from omnifuse.association import BilinearAssociation, LowRankBilinear


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
