"""The decoder against torch's own, with a cache against without, and the conformer's convolution against a slow one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from omnifuse.layers import ConformerBlock, ConvSubsampling, TextDecoder
from omnifuse.layers.conformer import ConvolutionModule, kept_frames

DIM, HEADS, VOCAB = 16, 2, 11


def made(seed=0, depth=2):
    torch.manual_seed(seed)
    decoder = TextDecoder(vocab_size=VOCAB, dim=DIM, depth=depth, num_heads=HEADS).eval()
    context = torch.randn(3, 5, DIM)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    return decoder, torch.randint(0, VOCAB, (3, 7)), context, mask


def as_torch(block):
    """torch's own decoder layer with the weights of a block."""
    layer = nn.TransformerDecoderLayer(
        DIM,
        HEADS,
        dim_feedforward=2 * DIM,
        dropout=0.0,
        activation=lambda values: nn.functional.gelu(values, approximate="tanh"),
        batch_first=True,
        norm_first=True,
    ).eval()
    own, cross = layer.self_attn, layer.multihead_attn
    pairs = [
        (own.in_proj_weight, block.attention.queries_keys_values.weight),
        (own.in_proj_bias, block.attention.queries_keys_values.bias),
        (own.out_proj.weight, block.attention.output.weight),
        (own.out_proj.bias, block.attention.output.bias),
        (cross.in_proj_weight, torch.cat([block.cross.queries.weight, block.cross.keys_values.weight])),
        (cross.in_proj_bias, torch.cat([block.cross.queries.bias, block.cross.keys_values.bias])),
        (cross.out_proj.weight, block.cross.output.weight),
        (cross.out_proj.bias, block.cross.output.bias),
        (layer.linear1.weight, block.mlp.inner.weight),
        (layer.linear1.bias, block.mlp.inner.bias),
        (layer.linear2.weight, block.mlp.outer.weight),
        (layer.linear2.bias, block.mlp.outer.bias),
    ]
    norms = (block.attention_norm, block.cross_norm, block.mlp_norm)
    for theirs, ours in zip((layer.norm1, layer.norm2, layer.norm3), norms, strict=True):
        pairs += [(theirs.weight, ours.weight), (theirs.bias, ours.bias)]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    return layer


@torch.inference_mode()
def test_block_equals_torchs_decoder_layer():
    decoder, _, context, mask = made(depth=1)
    block, tokens = decoder.blocks[0], torch.randn(3, 7, DIM)
    found, _ = block(tokens, block.cross.project(context), mask)
    causal = torch.triu(torch.ones(7, 7, dtype=torch.bool), diagonal=1)
    wanted = as_torch(block)(
        tokens[:2], context[:2], tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=~mask[:2]
    )
    torch.testing.assert_close(found[:2], wanted, atol=1e-5, rtol=1e-5)
    assert bool(found.isfinite().all()), "a row without any context gives numbers"


@torch.inference_mode()
def test_cached_equals_uncached():
    decoder, ids, context, mask = made()
    whole = decoder(ids, context, mask)
    state = decoder.begin(context, mask)
    for place in range(ids.shape[1]):
        logits, state = decoder.step(ids[:, place], state)
        torch.testing.assert_close(logits, whole[:, place], atol=1e-5, rtol=1e-5)
    assert state.length == ids.shape[1]


@torch.inference_mode()
def test_several_ids_behind_a_past_equal_one_by_one():
    decoder, ids, context, mask = made()
    whole = decoder(ids, context, mask)
    _, state = decoder.read(ids[:, :3], decoder.begin(context, mask))
    rest, _ = decoder.read(ids[:, 3:], state)
    torch.testing.assert_close(rest, whole[:, 3:], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_state_that_is_reordered_goes_on_as_the_other_row():
    decoder, ids, context, mask = made()
    index = torch.tensor([1, 0, 1])
    _, state = decoder.step(ids[:, 0], decoder.begin(context, mask))
    moved, _ = decoder.step(ids[index, 1], state.take(index))
    plain, _ = decoder.step(ids[:, 1], state)
    torch.testing.assert_close(moved, plain[index], atol=1e-5, rtol=1e-5)
    same = decoder.begin(context[[0, 0]], mask[[0, 0]])
    _, same = decoder.step(ids[:2, 0], same)
    swapped, _ = decoder.step(ids[[1, 0], 1], same.take(torch.tensor([1, 0]), same_context=True))
    plain, _ = decoder.step(ids[:2, 1], same)
    torch.testing.assert_close(swapped, plain[[1, 0]], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_no_token_sees_the_future_and_padded_context_counts_nothing():
    decoder, ids, context, mask = made()
    whole = decoder(ids, context, mask)
    changed = ids.clone()
    changed[:, 4:] = 0
    torch.testing.assert_close(decoder(changed, context, mask)[:, :4], whole[:, :4], atol=1e-5, rtol=1e-5)
    rubbish = torch.where(mask.unsqueeze(2), context, 99.0)
    torch.testing.assert_close(decoder(ids, rubbish, mask)[:2], whole[:2], atol=1e-5, rtol=1e-5)


def test_dim_and_heads_must_fit():
    with pytest.raises(ValueError, match="not a multiple"):
        TextDecoder(vocab_size=4, dim=10, num_heads=4)


def slow_convolution(module, tokens):
    """The convolution module in float64, place by place."""
    weight, bias = (item.detach().double().numpy() for item in (module.depthwise.weight, module.depthwise.bias))
    with torch.inference_mode():
        gated = nn.functional.glu(module.gated(module.norm(tokens)), dim=1).double().numpy()
    half, out = weight.shape[2] // 2, np.zeros_like(gated)
    for place in range(len(gated)):
        for tap in range(weight.shape[2]):
            source = place + tap - half
            if 0 <= source < len(gated):
                out[place] += gated[source] * weight[:, 0, tap]
    mean = (out + bias).mean(axis=1, keepdims=True)
    inner = (out + bias - mean) / np.sqrt((out + bias).var(axis=1, keepdims=True) + 1e-5)
    inner = inner / (1 + np.exp(-inner))
    return inner @ module.output.weight.detach().double().numpy().T + module.output.bias.detach().double().numpy()


@torch.inference_mode()
def test_convolution_module_equals_a_slow_one_and_sees_no_padding():
    torch.manual_seed(0)
    module = ConvolutionModule(8, kernel=5).eval()
    tokens = torch.randn(2, 9, 8)
    mask = torch.tensor([[True] * 9, [True] * 6 + [False] * 3])
    found = module(tokens, mask)
    for row, length in enumerate((9, 6)):
        wanted = slow_convolution(module, tokens[row, :length])
        np.testing.assert_allclose(found[row, :length].numpy(), wanted, atol=1e-4)
    with pytest.raises(ValueError, match="not odd"):
        ConvolutionModule(8, kernel=4)


@torch.inference_mode()
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 30])
def test_padding_changes_neither_subsampling_nor_conformer(length):
    torch.manual_seed(0)
    subsampling, block = ConvSubsampling(13, 16).eval(), ConformerBlock(16, 2, kernel=7).eval()
    alone = torch.randn(1, length, 13)
    padded = torch.full((2, length + 11, 13), 7.0)
    padded[0, :length] = alone[0]
    mask = torch.zeros(2, length + 11, dtype=torch.bool)
    mask[0, :length], mask[1] = True, True
    one, one_mask = subsampling(alone, torch.ones(1, length, dtype=torch.bool))
    two, two_mask = subsampling(padded, mask)
    count = int(kept_frames(torch.tensor([length])))
    assert one.shape[1] == count == int(two_mask[0].sum())
    torch.testing.assert_close(two[0, :count], one[0], atol=1e-5, rtol=1e-5)
    wanted = block(one, one_mask)
    torch.testing.assert_close(block(two, two_mask)[0, :count], wanted[0], atol=1e-5, rtol=1e-5)
