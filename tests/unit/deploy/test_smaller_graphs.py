"""Graphs with fewer members, in whole numbers, and with fewer channels: smaller, and what they answer."""

from __future__ import annotations

import numpy as np
import pytest
from tests.attention_graph import attended, attention_graph, attention_weights
from tests.tiny_graphs import CELLS, ENCODER, HIDDEN, tiny_model

from omnifuse.deploy.fewer_members import keep_members
from omnifuse.deploy.graph_folder import FUSION_FILE
from omnifuse.deploy.graph_runner import open_graph
from omnifuse.deploy.prune import prune_channels
from omnifuse.deploy.quantise import fold_constants, is_quantised, noisiest_layers, quantise_dynamic, quantise_static
from omnifuse.deploy.trial import Trial, median_ms

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
WHOLE = ("x",)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model(spread=0.2)


@pytest.fixture(scope="module")
def trial(tiny):
    return Trial(tiny.packs, threads=1)


def shapes_of(content):
    return {item.name: tuple(item.dims) for item in onnx.load_from_string(content).graph.initializer}


@pytest.mark.parametrize("kept", [[0], [2], [0, 2], [1, 2]])
def test_members_that_stay_answer_as_before(tiny, trial, kept):
    fewer = keep_members(tiny.graphs, kept)
    assert fewer.signature.num_members == len(kept)
    assert fewer.size_bytes < tiny.graphs.size_bytes * (len(kept) + 0.5) / 3
    found, wanted = trial.answers(fewer)[WHOLE], trial.answers(tiny.graphs)[WHOLE]
    np.testing.assert_allclose(found.fused["y"], wanted.fused["y"][kept], atol=1e-5)
    vectors = trial.runner(fewer).raw(tiny.packs, np.arange(3), vectors=True).pooled
    assert vectors is not None
    assert vectors.shape == (3, 16 * len(kept))


def test_members_cannot_be_told_apart_in_a_folded_graph(tiny):
    folded = tiny.graphs.with_graph(ENCODER, fold_constants(_without_members(tiny.graphs.contents[ENCODER])))
    with pytest.raises(ValueError, match="belongs to no member"):
        keep_members(folded, [0])


def _without_members(content):
    """The same graph with names that say no member."""
    text = onnx.load_from_string(content)
    for node in text.graph.node:
        for places in (node.input, node.output):
            for number, name in enumerate(places):
                places[number] = name.replace("m", "z", 1) if name[:2] in ("m0", "m1", "m2") else name
    for item in text.graph.initializer:
        item.name = item.name.replace("m", "z", 1) if item.name[:2] in ("m0", "m1", "m2") else item.name
    return text.SerializeToString()


@pytest.mark.parametrize("form", ["dynamic", "static"])
def test_whole_numbers_take_less_room_and_answer_nearly_the_same(tiny, trial, form):
    content = tiny.graphs.contents[ENCODER]
    feeds = trial.feeds(tiny.graphs)[ENCODER]
    made = quantise_dynamic(content) if form == "dynamic" else quantise_static(content, feeds)
    assert made is not None
    assert is_quantised(made)
    assert not is_quantised(content)
    assert len(made) < len(content) / 2.5
    found = trial.answers(tiny.graphs.with_graph(ENCODER, made))[WHOLE].fused["y"]
    wanted = trial.answers(tiny.graphs)[WHOLE].fused["y"]
    assert 0 < np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).mean()


def test_nothing_to_quantise_and_nothing_to_calibrate_on(tiny):
    from onnx import TensorProto, helper

    item = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "plain", item[:1], item[1:])
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    assert quantise_dynamic(plain) is None
    assert quantise_static(tiny.graphs.contents[ENCODER], []) is None
    assert prune_channels(plain, [{"a": np.ones((2, 4), np.float32)}], 0.5) == (plain, 0)
    assert prune_channels(tiny.graphs.contents[ENCODER], [], 0.5) == (tiny.graphs.contents[ENCODER], 0)


@pytest.mark.parametrize(("share", "off"), [(0.25, 0.2), (0.75, 0.6)])
def test_pruned_matrices_are_smaller_and_what_is_left_makes_up_for_it(tiny, trial, share, off):
    content = tiny.graphs.contents[ENCODER]
    pruned, removed = prune_channels(content, trial.feeds(tiny.graphs)[ENCODER], share)
    left = HIDDEN - round(share * HIDDEN)
    assert removed == 3 * (HIDDEN - left)
    assert sorted(shapes_of(pruned).values()).count((CELLS, left)) == 3
    assert (CELLS, HIDDEN) not in shapes_of(pruned).values()
    found = trial.answers(tiny.graphs.with_graph(ENCODER, pruned))[WHOLE].fused["y"]
    wanted = trial.answers(tiny.graphs)[WHOLE].fused["y"]
    assert np.abs(found - wanted).mean() < off * np.abs(wanted).mean()


def test_channels_that_copy_others_are_pruned_without_a_trace():
    draw = np.random.default_rng(0)
    half = draw.normal(size=(CELLS, HIDDEN // 2)).astype(np.float32)
    half /= np.linalg.norm(half, axis=0)
    tiny = tiny_model(1)
    text = onnx.load_from_string(tiny.graphs.contents[ENCODER])
    for item in text.graph.initializer:
        if item.name.endswith("w1"):
            item.CopyFrom(onnx.numpy_helper.from_array(np.concatenate([half, half], axis=1), item.name))
        if item.name.endswith("b1"):
            item.CopyFrom(onnx.numpy_helper.from_array(np.zeros(HIDDEN, np.float32), item.name))
        if item.name.endswith("w2"):
            read = onnx.numpy_helper.to_array(item).copy()
            read /= np.linalg.norm(read, axis=1, keepdims=True)
            # The copies are read half as loud, so that they are those that go
            read[HIDDEN // 2 :] = 0.5 * read[: HIDDEN // 2]
            item.CopyFrom(onnx.numpy_helper.from_array(read, item.name))
    graphs = tiny.graphs.with_graph(ENCODER, text.SerializeToString())
    trial = Trial(tiny.packs, threads=1)
    feed = {"x": draw.normal(size=(2000, 1, CELLS)).astype(np.float32)}
    pruned, removed = prune_channels(graphs.contents[ENCODER], [feed], 0.5)
    assert removed == HIDDEN // 2
    found = trial.answers(graphs.with_graph(ENCODER, pruned))[WHOLE].fused["y"]
    wanted = trial.answers(graphs)[WHOLE].fused["y"]
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())


def test_hidden_values_that_others_read_are_not_pruned(tiny, trial):
    text = onnx.load_from_string(tiny.graphs.contents[ENCODER])
    hidden = next(node for node in text.graph.node if node.op_type == "Relu").output[0]
    text.graph.output.append(onnx.helper.make_tensor_value_info(hidden, onnx.TensorProto.FLOAT, None))
    _, removed = prune_channels(text.SerializeToString(), trial.feeds(tiny.graphs)[ENCODER], 0.5)
    assert removed == 2 * HIDDEN // 2


def test_feeds_are_those_of_each_graph(tiny, trial):
    feeds = trial.feeds(tiny.graphs)
    assert {name: set(found[0]) for name, found in feeds.items()} == {
        ENCODER: {"x"},
        FUSION_FILE: {"tokens_0", "mask_0"},
    }
    assert len(feeds[ENCODER][0]["x"]) == 64
    assert all(len(feed["x"]) == 1 for feed in trial.row_feeds(tiny.graphs)[ENCODER])


def test_medians_take_turns_and_leave_the_first_round_out():
    clock = iter(range(10_000))
    order = []
    tasks = {name: [lambda name=name: order.append(name)] for name in ("one", "other")}
    found = median_ms(tasks, seconds=0.0, fewest=3, clock=lambda: float(next(clock)))
    assert order == ["one", "other"] * 4
    assert found == {"one": 1000.0, "other": 1000.0}


def kinds_of(content):
    return [node.op_type for node in onnx.load_from_string(content).graph.node]


@pytest.mark.parametrize("form", ["dynamic", "static"])
def test_products_of_two_activations_stay_and_dense_answers_are_not_rounded(form):
    x = np.random.default_rng(0).normal(size=(20, 7, 16)).astype(np.float32)
    content = attention_graph(attention_weights())
    made = quantise_dynamic(content) if form == "dynamic" else quantise_static(content, [{"x": x}])
    kinds = kinds_of(made)
    # Two inside the heads; a dense layer in the static form stands between nodes that give numbers with a point
    assert kinds.count("MatMul") == (2 if form == "dynamic" else 4)
    assert kinds.count("MatMulInteger") == (2 if form == "dynamic" else 0)
    assert kinds.count("QuantizeLinear") == (0 if form == "dynamic" else 2)
    found, wanted = open_graph(made, 1).run(None, {"x": x})[0], attended(x, attention_weights())
    assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)


@pytest.mark.parametrize("form", ["dynamic", "static"])
def test_looked_up_vectors_are_kept_in_8_bits(form):
    from onnx import TensorProto, helper, numpy_helper

    vectors = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    ids = np.arange(0, 500, 7)
    node = helper.make_node("Gather", ["vectors", "ids"], ["y"], name="look")
    given = helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows"])
    shown = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 16])
    graph = helper.make_graph([node], "g", [given], [shown], initializer=[numpy_helper.from_array(vectors, "vectors")])
    opset = [helper.make_opsetid("", 20)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    made = quantise_dynamic(content) if form == "dynamic" else quantise_static(content, [{"ids": ids}])
    assert len(made) < len(content) / 3
    np.testing.assert_allclose(open_graph(made, 1).run(None, {"ids": ids})[0], vectors[ids], atol=0.04)


def test_the_noisiest_layer_is_the_one_with_a_wild_input(tiny, trial):
    content, feeds = tiny.graphs.contents[ENCODER], trial.feeds(tiny.graphs)[ENCODER]
    layers = noisiest_layers(content, feeds)
    assert len(layers) == 6
    wild = [{"x": np.where(np.arange(CELLS) == 0, 1e4, feed["x"]).astype(np.float32)} for feed in feeds]
    text = onnx.load_from_string(content)
    for item in text.graph.initializer:
        if item.name.endswith("w1"):
            value = onnx.numpy_helper.to_array(item).copy()
            value[0] = 0.0
            item.CopyFrom(onnx.numpy_helper.from_array(value, item.name))
    found = noisiest_layers(text.SerializeToString(), wild)
    first = {node.name for node in text.graph.node if node.op_type == "MatMul" and node.input[1].endswith("w1")}
    assert set(found[:3]) == first
    kept = quantise_dynamic(text.SerializeToString(), keep=found[:3])
    assert kinds_of(kept).count("MatMulInteger") == 3
    assert noisiest_layers(content, []) == []
