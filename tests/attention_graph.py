"""A layer of attention as the library's own is exported, as a graph made by hand, and what it gives in float64."""

from __future__ import annotations

import numpy as np

WIDTH, HEADS, HEAD_WIDTH = 16, 4, 8


def attention_weights(seed: int = 0, *, quiet: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """Weights of a layer whose quiet heads add nothing to its answers."""
    draw = np.random.default_rng(seed)
    inner = HEADS * HEAD_WIDTH
    shapes = {
        "packed": (WIDTH, 3 * inner),
        "packed_bias": (3 * inner,),
        "output": (inner, WIDTH),
        "output_bias": (WIDTH,),
    }
    found = {name: draw.normal(size=shape).astype(np.float32) / shape[0] ** 0.5 for name, shape in shapes.items()}
    for head in quiet:
        found["output"][head * HEAD_WIDTH : (head + 1) * HEAD_WIDTH] = 0.0
    return found


def attended(x: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """(B, T, D) to (B, T, D) in float64."""
    held = {name: value.astype(np.float64) for name, value in weights.items()}
    packed = (x @ held["packed"] + held["packed_bias"]).reshape(*x.shape[:2], 3, -1, HEAD_WIDTH)
    queries, keys, values = packed.transpose(2, 0, 3, 1, 4)
    scores = queries @ keys.transpose(0, 1, 3, 2) / HEAD_WIDTH**0.5
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (shares / shares.sum(axis=-1, keepdims=True)) @ values
    return mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1) @ held["output"] + held["output_bias"]


def attention_graph(weights: dict[str, np.ndarray], *, watched: tuple[str, ...] = ()) -> bytes:
    """The graph `x` (rows, steps, 16) to `y`, with some inner values among its outputs."""
    from onnx import TensorProto, helper, numpy_helper

    def integers(name: str, *values: int):
        return numpy_helper.from_array(np.array(values, np.int64), name)

    made = iter(range(1000))

    def node(kind: str, inputs: list[str], output: str, **attributes):
        return helper.make_node(kind, inputs, [output], name=f"n{next(made)}", **attributes)

    inner = HEADS * HEAD_WIDTH
    nodes = [
        node("Shape", ["x"], "rows", start=0, end=1),
        node("Shape", ["x"], "steps", start=1, end=2),
        node("MatMul", ["x", "packed"], "product"),
        node("Add", ["product", "packed_bias"], "linear"),
        node("Concat", ["rows", "steps", "c3", "heads", "width"], "five", axis=0),
        node("Reshape", ["linear", "five"], "apart", allowzero=1),
        node("Transpose", ["apart"], "three", perm=[2, 0, 3, 1, 4]),
    ]
    for number, name in enumerate(("queries", "keys", "values")):
        nodes += [
            node("Slice", ["three", f"c{number}", f"c{number + 1}", "c0"], f"{name}_5"),
            node("Squeeze", [f"{name}_5", "c0"], name),
        ]
    nodes += [
        node("Transpose", ["keys"], "turned", perm=[0, 1, 3, 2]),
        node("MatMul", ["queries", "turned"], "raw"),
        node("Mul", ["raw", "scale"], "scores"),
        node("Softmax", ["scores"], "shares", axis=-1),
        node("MatMul", ["shares", "values"], "mixed"),
        node("Transpose", ["mixed"], "together", perm=[0, 2, 1, 3]),
        node("Concat", ["rows", "steps", "inner"], "whole", axis=0),
        node("Reshape", ["together", "whole"], "joined", allowzero=1),
        node("MatMul", ["joined", "output"], "product_2"),
        node("Add", ["product_2", "output_bias"], "y"),
    ]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    held += [numpy_helper.from_array(np.array(HEAD_WIDTH**-0.5, np.float32), "scale")]
    held += [integers(f"c{number}", number) for number in range(4)]
    held += [integers("heads", HEADS), integers("width", HEAD_WIDTH), integers("inner", inner)]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "steps", WIDTH])]
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", *watched)]
    graph = helper.make_graph(nodes, "attention", given, shown, initializer=held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    content: bytes = model.SerializeToString()
    return content
