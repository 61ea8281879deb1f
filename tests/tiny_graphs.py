"""Small graphs of an ensemble, with the readout and rows that belong to them; made without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.data.pack import Pack
from omnifuse.deploy.graph_folder import FUSION_FILE, FieldSignature, GraphSignature
from omnifuse.deploy.graph_set import GraphSet
from omnifuse.deploy.member_graphs import TracedMember, repeat_members
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import Target, TaskKind

CELLS, HIDDEN, WIDTH, CLASSES = 16, 512, 16, 3
ENCODER = "encoder_x.onnx"


@dataclass(frozen=True)
class TinyModel:
    """Graphs with what is needed to ask them."""

    graphs: GraphSet
    readouts: dict[str, TargetReadout]
    packs: dict[str, Pack]
    truth: np.ndarray


def tiny_model(num_members: int = 3, *, num_rows: int = 200, spread: float = 0.01, seed: int = 0) -> TinyModel:
    """An ensemble that reads 16 numbers, whose members differ by a share of their weights.

    Args:
        num_members: E.
        num_rows: Rows whose label is what the first member answers.
        spread: How much members differ.
        seed: Of weights and rows.
    """
    draw = np.random.default_rng(seed)
    shapes = {"w1": (CELLS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, WIDTH), "b2": (WIDTH,), "w3": (WIDTH, CLASSES)}
    first = {name: draw.normal(size=shape).astype(np.float32) / shape[0] ** 0.5 for name, shape in shapes.items()}
    members = [
        {
            name: value + spread * number * value.std() * draw.normal(size=value.shape).astype(np.float32)
            for name, value in first.items()
        }
        for number in range(num_members)
    ]
    encoder = repeat_members([TracedMember(_encoder(item), item) for item in members])
    fusion = repeat_members(
        [TracedMember(_fusion(item), item) for item in members], apart=["tokens_0"], joined=["pooled"]
    )
    field = FieldSignature(ENCODER, (("x", "float32"),), WIDTH, 0, False)
    outputs = (("answers", "y", "fused"), ("pooled", "", ""))
    signature = GraphSignature({"x": field}, ("tokens_0", "mask_0"), outputs, num_members)
    x = draw.normal(size=(4 * num_rows, CELLS)).astype(np.float32)
    logits = (np.maximum(x @ first["w1"] + first["b1"], 0) @ first["w2"] + first["b2"]) @ first["w3"]
    # No row on the edge between two classes
    margin = np.diff(np.sort(logits, axis=1)[:, -2:], axis=1)[:, 0]
    chosen = np.sort(np.argsort(-margin)[:num_rows])
    x, truth = x[chosen], logits[chosen].argmax(axis=1)
    pack = Pack({"x": x}, np.arange(num_rows + 1), np.ones(num_rows, bool))
    target = Target("y", TaskKind.CLASSIFICATION, ("a", "b", "c"))
    readout = TargetReadout(target, ("x",), prior=(1 / 3, 1 / 3, 1 / 3))
    return TinyModel(GraphSet(signature, {ENCODER: encoder, FUSION_FILE: fusion}), {"y": readout}, {"x": pack}, truth)


def _model(nodes, inputs, outputs, values, constants=()):
    from onnx import helper, numpy_helper

    nodes = [*constants, *nodes]
    for number, node in enumerate(nodes):
        node.name = f"n{number}"
    held = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def _constant(name, value):
    from onnx import helper, numpy_helper

    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.int64), name))


def _encoder(values):
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["inner"]),
        helper.make_node("Add", ["inner", "b1"], ["biased"]),
        helper.make_node("Relu", ["biased"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["outer"]),
        helper.make_node("Add", ["outer", "b2"], ["tokens"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 1, CELLS])
    found = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["rows", 1, WIDTH])
    return _model(nodes, [given], [found], {name: values[name] for name in ("w1", "b1", "w2", "b2")})


def _fusion(values):
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["mask_0"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["real3"]),
        helper.make_node("Mul", ["tokens_0", "real3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "second"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "w3"], ["output_0"]),
    ]
    given = [
        helper.make_tensor_value_info("tokens_0", TensorProto.FLOAT, ["rows", "places", WIDTH]),
        helper.make_tensor_value_info("mask_0", TensorProto.BOOL, ["rows", "places"]),
    ]
    found = [
        helper.make_tensor_value_info("output_0", TensorProto.FLOAT, ["rows", CLASSES]),
        helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["rows", WIDTH]),
    ]
    constants = [_constant("last", [2]), _constant("second", [1])]
    return _model(nodes, given, found, {"w3": values["w3"]}, constants)
