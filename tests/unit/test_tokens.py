"""The ways of spreading and unpacking rows that wait for no device give what the plain ways give."""

from __future__ import annotations

import pytest
import torch

from omnifuse.layers import masks
from omnifuse.tokens import Tokens, _pad_by_number, _scatter_by_number, pad_packed, scatter


@pytest.mark.parametrize("lengths", [[3, 1, 4], [2, 2], [5], [1, 1, 1]])
def test_rows_are_padded_by_number(lengths):
    values = torch.randn(sum(lengths), 2, 3, generator=torch.Generator().manual_seed(0))
    wanted, mask = pad_packed(values, torch.tensor(lengths))
    found, found_mask = _pad_by_number(values, torch.tensor(lengths))
    assert torch.equal(found, wanted)
    assert torch.equal(found_mask, mask)


@pytest.mark.parametrize("present", [[True, False, True], [False, False, True, True], [True, True], [False, False]])
def test_rows_are_spread_by_number(present):
    count = sum(present)
    draw = torch.Generator().manual_seed(0)
    tokens = Tokens(torch.randn(count, 2, 3, generator=draw), torch.rand(count, 2, generator=draw) < 0.5)
    wanted, found = (way(tokens, torch.tensor(present)) for way in (scatter, _scatter_by_number))
    assert torch.equal(found.values, wanted.values)
    assert torch.equal(found.mask, wanted.mask)


def test_the_processor_keeps_no_notes():
    mask = masks.noted(torch.tensor([[True, False]]), True)
    assert not masks.all_real(mask)
    assert not masks.noted_real(mask)
    mask[0, 1] = True
    assert masks.all_real(mask)
