"""Layers against torch.nn, numpy and formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from omnifuse.layers import (
    MLP,
    Attention,
    AttentionPool,
    ChannelNorm,
    ConvBlock,
    GatedBlock,
    MaxPool,
    MeanPool,
    TransformerBlock,
    WeightedPool,
    sinusoids,
)

DIM, HEADS = 12, 3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def masked_tokens(num_rows=5, num_tokens=7):
    tokens = torch.randn(num_rows, num_tokens, DIM)
    mask = torch.arange(num_tokens)[None, :] < torch.tensor([7, 1, 4, 6, 2])[:num_rows, None]
    return tokens, mask


def torch_attention(attention):
    """torch.nn.MultiheadAttention with the same weights."""
    peer = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(attention.queries_keys_values.weight)
        peer.in_proj_bias.copy_(attention.queries_keys_values.bias)
        peer.out_proj.weight.copy_(attention.output.weight)
        peer.out_proj.bias.copy_(attention.output.bias)
    return peer


def test_attention_is_that_of_torch():
    attention = Attention(DIM, HEADS)
    nn.init.normal_(attention.queries_keys_values.bias)
    nn.init.normal_(attention.output.bias)
    peer = torch_attention(attention)
    tokens, mask = masked_tokens()
    wanted, _ = peer(tokens, tokens, tokens, key_padding_mask=~mask)
    torch.testing.assert_close(attention(tokens, mask)[mask], wanted[mask], atol=1e-6, rtol=1e-5)
    whole = torch.ones_like(mask)
    wanted, _ = peer(tokens, tokens, tokens)
    torch.testing.assert_close(attention(tokens, whole), wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attention(tokens, None), wanted, atol=1e-6, rtol=1e-5)


def test_attention_gradients_are_those_of_torch():
    attention = Attention(DIM, HEADS)
    peer = torch_attention(attention)
    tokens, mask = masked_tokens()
    weights = torch.randn(5, 7, DIM) * mask.unsqueeze(-1)
    (attention(tokens, mask) * weights).sum().backward()
    (peer(tokens, tokens, tokens, key_padding_mask=~mask)[0] * weights).sum().backward()
    torch.testing.assert_close(
        attention.queries_keys_values.weight.grad, peer.in_proj_weight.grad, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(attention.output.weight.grad, peer.out_proj.weight.grad, atol=1e-5, rtol=1e-4)


def test_attention_of_rows_without_tokens_is_finite_and_gives_no_gradient():
    attention = Attention(DIM, HEADS)
    tokens, mask = masked_tokens()
    mask[1] = False
    tokens.requires_grad_()
    found = attention(tokens, mask)
    assert bool(found.isfinite().all())
    (found * mask.unsqueeze(-1)).sum().backward()
    assert bool(tokens.grad.isfinite().all())
    assert bool((tokens.grad[1] == 0).all())


def test_attention_needs_heads_that_divide():
    with pytest.raises(ValueError, match="dim 12 is not a multiple of num_heads 5"):
        Attention(12, 5)


def slow_attention(attention, tokens):
    """Softmax of scaled products, head by head in float64, for one row of real tokens (T, D)."""
    state = {name: value.detach().double() for name, value in attention.state_dict().items()}
    packed = tokens.double() @ state["queries_keys_values.weight"].T + state["queries_keys_values.bias"]
    queries, keys, values = packed.split(DIM, dim=1)
    width = DIM // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = queries[:, part] @ keys[:, part].T / math.sqrt(width)
        weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
        heads.append(weights @ values[:, part])
    return torch.cat(heads, dim=1) @ state["output.weight"].T + state["output.bias"]


def slow_norm(values, norm):
    centred = values - values.mean(dim=-1, keepdim=True)
    scaled = centred / ((centred**2).mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return scaled * norm.weight.detach().double() + norm.bias.detach().double()


def test_gated_block_is_features_times_attention():
    """`E(x) * Attention(E(x))`, normed."""
    block = GatedBlock(DIM, HEADS).eval()
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    tokens, mask = masked_tokens()
    found = block(tokens, mask)
    for row in range(5):
        features = tokens[row][mask[row]]
        wanted = slow_norm(features.double() * slow_attention(block.attention, features), block.norm)
        torch.testing.assert_close(found[row][mask[row]].double(), wanted, atol=1e-5, rtol=1e-5)


def test_transformer_block_written_out():
    block = TransformerBlock(DIM, HEADS).eval()
    tokens, mask = masked_tokens()
    found = block(tokens, mask)
    state = {name: value.detach().double() for name, value in block.mlp.state_dict().items()}
    for row in range(5):
        values = tokens[row][mask[row]].double()
        values = values + slow_attention(block.attention, slow_norm(values, block.attention_norm))
        inner = slow_norm(values, block.mlp_norm) @ state["inner.weight"].T + state["inner.bias"]
        gelu = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        wanted = values + gelu @ state["outer.weight"].T + state["outer.bias"]
        torch.testing.assert_close(found[row][mask[row]].double(), wanted, atol=1e-5, rtol=1e-5)


def test_transformer_block_is_near_that_of_torch():
    """torch's own encoder layer, norm first: the same weights, its exact GELU against our tanh form."""
    block = TransformerBlock(DIM, HEADS).eval()
    peer = nn.TransformerEncoderLayer(DIM, HEADS, 2 * DIM, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    peer.self_attn = torch_attention(block.attention)
    peer.norm1, peer.norm2 = block.attention_norm, block.mlp_norm
    peer.linear1, peer.linear2 = block.mlp.inner, block.mlp.outer
    tokens, mask = masked_tokens()
    peer.train()  # the fast path of evaluation cuts padding off
    wanted = peer(tokens, src_key_padding_mask=~mask)
    torch.testing.assert_close(block(tokens, mask)[mask], wanted[mask], atol=2e-3, rtol=1e-3)


def test_mlp_is_that_of_torch():
    mlp = MLP(4, 9, 3).eval()
    peer = nn.Sequential(mlp.inner, nn.GELU(approximate="tanh"), mlp.outer)
    values = torch.randn(2, 5, 4)
    torch.testing.assert_close(mlp(values), peer(values))


def test_mean_and_max_pool_against_numpy():
    tokens, mask = masked_tokens()
    mask[3] = False
    kept = np.ma.masked_array(tokens.numpy(), np.broadcast_to(~mask.numpy()[..., None], tokens.shape))
    np.testing.assert_allclose(MeanPool(DIM)(tokens, mask).numpy(), kept.mean(axis=1).filled(0), atol=1e-6)
    np.testing.assert_allclose(MaxPool(DIM)(tokens, mask).numpy(), kept.max(axis=1).filled(0), atol=1e-6)


def test_weighted_pool_against_numpy():
    pool = WeightedPool(DIM)
    tokens, mask = masked_tokens()
    weight = pool.score.weight.detach().numpy()[0].astype(np.float64)
    for row, vector in enumerate(pool(tokens, mask).detach().numpy()):
        kept = tokens[row][mask[row]].numpy().astype(np.float64)
        scores = np.exp(kept @ weight + pool.score.bias.item())
        np.testing.assert_allclose(vector, (scores / scores.sum()) @ kept, atol=1e-5)


def test_attention_pool_is_that_of_torch():
    """torch.nn.MultiheadAttention from one learned query: identity in place of its query and output layers."""
    pool = AttentionPool(DIM, HEADS)
    nn.init.normal_(pool.query)
    peer = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([torch.eye(DIM), pool.keys.weight, pool.values.weight]))
        peer.in_proj_bias.copy_(torch.cat([torch.zeros(2 * DIM), pool.values.bias]))
        peer.out_proj.weight.copy_(torch.eye(DIM))
        peer.out_proj.bias.zero_()
    tokens, mask = masked_tokens()
    query = pool.query.reshape(1, 1, DIM).expand(5, 1, DIM)
    wanted, _ = peer(query, tokens, tokens, key_padding_mask=~mask)
    torch.testing.assert_close(pool(tokens, mask), wanted[:, 0], atol=1e-6, rtol=1e-5)


def test_channel_norm_is_layer_norm_of_each_place():
    norm = ChannelNorm(6)
    nn.init.normal_(norm.norm.weight)
    values = torch.randn(2, 6, 3, 4)
    found = norm(values)
    for place in ((0, 0, 0), (1, 2, 3)):
        row, height, width = place
        wanted = functional.layer_norm(values[row, :, height, width], (6,), norm.norm.weight, norm.norm.bias)
        torch.testing.assert_close(found[row, :, height, width], wanted)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize("channels", [(4, 4), (4, 7)])
def test_convolution_block_written_out(stride, channels):
    block = ConvBlock(*channels, stride=stride).eval()
    values = torch.randn(2, channels[0], 9, 6)
    inner = functional.conv2d(values, block.first.weight, stride=stride, padding=1)
    inner = functional.relu(block.first_norm(inner))
    inner = block.second_norm(functional.conv2d(inner, block.second.weight, padding=1))
    # A 1 x 1 convolution with that stride is the same as thinning first
    identity = torch.eye(channels[0])[:, :, None, None]
    weight = identity if block.shortcut is None else block.shortcut.weight
    wanted = functional.relu(inner + functional.conv2d(values, weight, stride=stride))
    torch.testing.assert_close(block(values), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [(1, 2), (2, 2)])
@pytest.mark.parametrize("length", [1, 4, 7])
def test_convolution_block_never_sees_padding(stride, length):
    """A row padded to 12 gives at its real places what it gives alone, and 0 elsewhere."""
    block = ConvBlock(3, 5, stride=stride).eval()
    alone = torch.randn(1, 3, length, 6)
    long = torch.zeros(1, 3, 12, 6)
    long[:, :, :length] = alone
    kept = (torch.arange(12) < length)[:: stride[0]]
    found = block(long, kept[None, None, :, None].float())
    short = block(alone)
    assert short.shape[2] == int(kept.sum())
    torch.testing.assert_close(found[:, :, kept], short, atol=1e-6, rtol=1e-5)
    assert bool((found[:, :, ~kept] == 0).all())


@pytest.mark.parametrize("channels", [(4, 4), (4, 7)])
def test_gradients_of_a_masked_convolution_block_written_out(channels):
    """The mask is hidden from autograd; the gradients are those of a product by the mask all the same."""
    block = ConvBlock(*channels, stride=(2, 2))
    values = torch.randn(2, channels[0], 9, 6, requires_grad=True)
    mask = (torch.arange(5) < torch.tensor([[5], [3]]))[:, None, :, None]
    inner = functional.relu(block.first_norm(block.first(values))) * mask
    inner = block.second_norm(block.second(inner))
    same = values[:, :, ::2, ::2] if block.shortcut is None else block.shortcut(values[:, :, ::2, ::2])
    wanted = functional.relu(inner + same) * mask
    found = block(values, mask)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    sources, weights = [values, *block.parameters()], torch.randn_like(wanted)
    gradients, by_product = (torch.autograd.grad(result, sources, weights) for result in (found, wanted))
    torch.testing.assert_close(gradients, by_product, atol=1e-4, rtol=1e-4)


def test_sinusoids_by_the_formula():
    found = sinusoids(50, 8)
    assert found.shape == (50, 8)
    for position in (0, 1, 17, 49):
        for rate in range(4):
            angle = position * 10_000 ** (-rate / 3)
            assert abs(found[position, rate].item() - math.sin(angle)) < 1e-4
            assert abs(found[position, 4 + rate].item() - math.cos(angle)) < 1e-4
    assert sinusoids(3, 7).shape == (3, 7)
    assert sinusoids(0, 8).shape == (0, 8)
    assert torch.equal(sinusoids(5, 1)[:, 0], torch.arange(5).float().sin())
