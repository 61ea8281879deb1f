"""Rows encoded a few at a time give the loss and the gradients of all at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from omnifuse.association import info_nce
from omnifuse.layers import Dropout
from omnifuse.training.grad_cache import encode_chunks


class Towers(nn.Module):
    """Two towers with dropout of their own generator, as networks have it."""

    def __init__(self, dropout):
        super().__init__()
        self.one, self.two, self.dropout = nn.Linear(6, 5), nn.Linear(6, 5), Dropout(dropout)

    def forward(self, rows):
        # The last one needs no gradient
        return (self.dropout(self.one(rows)).tanh(), self.two(rows), rows.sum(dim=1))


def gradients(chunks_of, *, dropout, rows=12, cached):
    torch.manual_seed(0)
    net, data = Towers(dropout), torch.randn(rows, 6)
    net.dropout.generator = generator = torch.Generator().manual_seed(5)
    parts = data.chunk(chunks_of)
    if cached:
        found = encode_chunks([lambda part=part: net(part) for part in parts], generator)
    else:
        found = [torch.cat(kind) for kind in zip(*[net(part) for part in parts], strict=True)]
    first, second = (nn.functional.normalize(value, dim=1) for value in found[:2])
    loss = info_nce(first, second, torch.tensor(1.0)) + found[2].mean()
    (2 * loss).backward()
    return loss.item(), [weight.grad.clone() for weight in net.parameters()], generator.get_state()


@pytest.mark.parametrize("chunks", [1, 2, 5, 12])
def test_chunks_give_the_whole_loss_and_its_gradients(chunks):
    wanted, found = gradients(1, dropout=0.0, cached=False), gradients(chunks, dropout=0.0, cached=True)
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    for one, other in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_second_run_draws_what_the_first_drew():
    wanted, found = gradients(4, dropout=0.5, cached=False), gradients(4, dropout=0.5, cached=True)
    assert found[0] == wanted[0]
    for one, other in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    # And what is drawn afterwards does not depend on it
    assert torch.equal(found[2], wanted[2])


def test_gradients_add_up_over_calls():
    torch.manual_seed(0)
    net, data = Towers(0.0), torch.randn(6, 6)
    for _ in range(2):
        encode_chunks([lambda part=part: net(part) for part in data.chunk(3)])[1].sum().backward()
    torch.testing.assert_close(net.two.bias.grad, torch.full((5,), 12.0))


def test_the_precision_of_the_first_run_holds_for_the_second():
    seen = []

    def chunk():
        seen.append(torch.is_autocast_enabled("cpu"))
        return (weight * 2,)

    weight = torch.ones(1, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encode_chunks([chunk, chunk])
    found[0].sum().backward()
    assert seen == [True] * 4
    assert weight.grad.item() == 4


def test_memory_holds_one_chunk_at_a_time():
    """No activation of a chunk is kept between the forward and its second run."""
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    net, data = Towers(0.0), torch.randn(12, 6)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = encode_chunks([lambda part=part: net(part) for part in data.chunk(4)])
    assert kept == []
    assert found[0].shape == (12, 5)
