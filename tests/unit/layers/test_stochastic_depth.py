from __future__ import annotations

import pytest
import torch
from torch import nn

from omnifuse.fusion import FUSIONS
from omnifuse.layers import (
    ConvBlock,
    CrossBlock,
    GatedBlock,
    StochasticDepth,
    TransformerBlock,
    set_stochastic_depth,
)
from omnifuse.layers.stochastic_depth import levels
from omnifuse.training.lanes import give_generator

DIM, ROWS = 8, 400


class Run:
    """One block with what it is called with."""

    def __init__(self, block, *inputs):
        self.block, self.inputs = block, inputs

    def __call__(self):
        return self.block(*self.inputs)


def tokens(seed=0):
    torch.manual_seed(seed)
    return torch.randn(1, 3, DIM).expand(ROWS, 3, DIM).contiguous()


def made():
    torch.manual_seed(1)
    maps = torch.randn(1, DIM, 4, 4).expand(ROWS, DIM, 4, 4).contiguous()
    return {
        "transformer": Run(TransformerBlock(DIM, 2), tokens(), None),
        "gated": Run(GatedBlock(DIM, 2), tokens(), None),
        "cross": Run(CrossBlock(DIM, 2), tokens(), tokens(2), None),
        "conv": Run(ConvBlock(DIM, DIM), maps),
        "smaller": Run(ConvBlock(DIM, 2 * DIM, stride=(2, 2)), maps),
    }


NAMES = list(made())


def with_share(name, share):
    run = made()[name]
    run.block.skip.p = share
    return run


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_and_no_share_are_the_block_itself(name):
    plain, deep, none = made()[name], with_share(name, 0.5), with_share(name, 0.0)
    plain.block.eval()
    expected = plain()
    deep.block.eval()
    none.block.train()
    assert torch.equal(deep(), expected)
    assert torch.equal(none(), expected)
    assert plain.block.state_dict().keys() == deep.block.state_dict().keys()


@pytest.mark.parametrize("name", NAMES)
def test_whole_rows_pass_by_and_others_do_not_matter(name):
    run = with_share(name, 0.5)
    run.block.train()
    torch.manual_seed(0)
    out = run()
    branches = 2 if name in ("transformer", "cross") else 1
    # All rows are alike, so there are as many results as ways through the branches
    assert len(torch.unique(out.flatten(1).round(decimals=4), dim=0)) == 2**branches


def test_the_rows_that_pass_by_keep_their_tokens():
    for name in ("transformer", "cross"):
        run = with_share(name, 0.5)
        run.block.train()
        torch.manual_seed(0)
        same = (run() == run.inputs[0]).flatten(1).all(dim=1)
        assert 0.15 < same.float().mean() < 0.35  # by both branches: a quarter
    gated = with_share("gated", 0.5)
    gated.block.train()
    torch.manual_seed(0)
    same = torch.isclose(gated(), gated.block.norm(gated.inputs[0]), atol=1e-6).flatten(1).all(dim=1)
    assert 0.4 < same.float().mean() < 0.6
    conv = with_share("conv", 0.5)
    conv.block.train()
    torch.manual_seed(0)
    same = (conv() == conv.inputs[0].relu()).flatten(1).all(dim=1)
    assert 0.4 < same.float().mean() < 0.6


def test_the_expectation_of_the_branch_stays():
    skip = StochasticDepth(0.3).train()
    skip.generator = torch.Generator().manual_seed(0)
    values = torch.rand(20_000, 2, 3) + 1
    dropped = skip(values)
    assert dropped.mean().item() == pytest.approx(values.mean().item(), rel=0.02)
    kept = dropped[dropped[:, 0, 0] != 0]
    assert len(kept) / len(values) == pytest.approx(0.7, abs=0.02)
    torch.testing.assert_close(kept, values[dropped[:, 0, 0] != 0] / 0.7)


def test_the_generator_of_the_network_alone_decides():
    run = with_share("transformer", 0.5)
    run.block.train()

    def drawn(own, ours):
        torch.manual_seed(ours)
        give_generator(run.block, torch.Generator().manual_seed(own))
        return run()

    assert torch.equal(drawn(1, 5), drawn(1, 6))
    assert not torch.equal(drawn(1, 5), drawn(2, 5))


@pytest.mark.parametrize("name", ["joint", "attention", "bottleneck", "latent"])
def test_blocks_of_a_fusion_are_levelled_as_they_run(name):
    fusion = FUSIONS[name](DIM, ("a", "b", "c"), num_heads=2, depth=2)
    order = []
    for level, blocks in enumerate(levels(fusion)):
        for block in blocks:
            block.register_forward_hook(lambda *_, level=level: order.append(level))
    from omnifuse.tokens import Tokens

    some = Tokens(torch.randn(2, 3, DIM), torch.ones(2, 3, dtype=torch.bool))
    fusion({"a": some, "b": some, "c": some})
    per_level = {"joint": 1, "attention": 3, "bottleneck": 3, "latent": 2}[name]
    assert [len(blocks) for blocks in levels(fusion)] == [per_level] * 2
    if name != "attention":  # whose fields run one after the other
        assert order == sorted(order)
    assert order.count(0) == order.count(1) == per_level


def test_the_share_rises_in_a_line_over_the_whole_depth():
    deep = nn.Module()
    deep.blocks = nn.ModuleList(TransformerBlock(DIM, 2) for _ in range(2))
    flat, trunk = nn.Linear(2, 2), nn.Module()
    trunk.blocks = nn.ModuleList([GatedBlock(DIM, 2)])
    fusion = FUSIONS["joint"](DIM, ("a",), num_heads=2, depth=2)
    set_stochastic_depth([[deep, flat], [trunk], [fusion]], 0.5)
    shares = [block.skip.p for block in (*deep.blocks, *trunk.blocks, *fusion.blocks)]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_setting_reaches_every_block_of_a_network(media_problem):
    network = media_problem.network(stochastic_depth=0.4, encoder_depth=2, fusion_depth=2, shared_trunk=1)
    skips = [module.p for module in network.modules() if isinstance(module, StochasticDepth)]
    assert min(skips) > 0
    assert max(skips) == pytest.approx(0.4)
    plain = media_problem.network(encoder_depth=2, fusion_depth=2, shared_trunk=1)
    assert {module.p for module in plain.modules() if isinstance(module, StochasticDepth)} == {0.0}
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), plain.parameters(), strict=True))
