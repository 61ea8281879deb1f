"""Heads taken out of attention: which ones, what the matrices become, and what the layer still gives."""

from __future__ import annotations

import numpy as np
import pytest
from tests.attention_graph import HEAD_WIDTH, HEADS, WIDTH, attended, attention_graph, attention_weights

from omnifuse.deploy.graph_runner import open_graph
from omnifuse.deploy.prune_heads import prune_heads

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
X = np.random.default_rng(1).normal(size=(40, 7, WIDTH)).astype(np.float32)
FEEDS = [{"x": X}]


def answers(content, x=X):
    return open_graph(content, 1).run(["y"], {"x": x})[0]


def sizes_of(content):
    return {item.name: tuple(item.dims) for item in onnx.load_from_string(content).graph.initializer}


def test_the_graph_is_the_attention_that_it_says():
    weights = attention_weights()
    np.testing.assert_allclose(answers(attention_graph(weights)), attended(X, weights), atol=1e-5)


@pytest.mark.parametrize("quiet", [(0,), (3,), (1, 2)])
def test_heads_that_add_nothing_go_without_a_trace(quiet):
    weights = attention_weights(quiet=quiet)
    pruned, removed = prune_heads(attention_graph(weights), FEEDS, len(quiet) / HEADS)
    assert removed == len(quiet)
    left = (HEADS - len(quiet)) * HEAD_WIDTH
    sizes = sizes_of(pruned)
    assert (sizes["packed"], sizes["packed_bias"], sizes["output"]) == ((WIDTH, 3 * left), (3 * left,), (left, WIDTH))
    for x in (X, X[:1, :1], X[:3, :5]):
        np.testing.assert_allclose(answers(pruned, x), attended(x, weights), atol=1e-4)


def test_what_is_lost_is_made_up_for():
    weights = attention_weights(seed=3)
    pruned, removed = prune_heads(attention_graph(weights), FEEDS, 0.5)
    assert removed == HEADS // 2
    wanted = attended(X, weights)
    off = np.abs(answers(pruned) - wanted).mean() / np.abs(wanted - wanted.mean(axis=(0, 1))).mean()
    # Without the heads that stay doing more, and without those that add least going first
    cut = {name: value.copy() for name, value in weights.items()}
    cut["output"][: 2 * HEAD_WIDTH] = 0.0
    worse = np.abs(attended(X, cut) - wanted).mean() / np.abs(wanted - wanted.mean(axis=(0, 1))).mean()
    assert off < 0.8 * worse


def test_one_head_stays_and_a_small_share_takes_none():
    content = attention_graph(attention_weights())
    assert prune_heads(content, FEEDS, 0.99)[1] == HEADS - 1
    assert prune_heads(content, FEEDS, 0.1) == (content, 0)
    assert prune_heads(content, [], 0.5) == (content, 0)


@pytest.mark.parametrize("watched", ["joined", "three", "product"])
def test_heads_that_others_read_stay(watched):
    content = attention_graph(attention_weights(), watched=(watched,))
    assert prune_heads(content, FEEDS, 0.5) == (content, 0)


def test_a_graph_without_attention_stays_as_it_is():
    from tests.tiny_graphs import ENCODER, tiny_model

    content = tiny_model(1).graphs.contents[ENCODER]
    assert prune_heads(content, [{"x": X[:, :1]}], 0.5) == (content, 0)
