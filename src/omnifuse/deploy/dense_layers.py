"""What is to be known of the dense layers of a graph before they are made smaller: where they are, what reaches them.

Shapes: N samples (rows times tokens), F channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Looked at of each value
MOST_SAMPLES = 8192
_FEWEST_A_FEED = 64

# Initializer to its shape
Sizes = Mapping[str, tuple[int, ...]]
# Value to the nodes that read it
Readers = Mapping[str, Sequence[Any]]


def dense_layer(node: Any, held: Sizes) -> tuple[str, bool] | None:
    """Initializer of a dense layer, and whether it is turned over; None where the node is none.

    Args:
        node: Of a graph.
        held: The graph's initializers.
    """
    if node.op_type not in ("MatMul", "Gemm") or len(held.get(node.input[1], ())) != 2 or node.input[0] in held:
        return None
    numbers = {one.name: one.f if one.name in ("alpha", "beta") else one.i for one in node.attribute}
    if numbers.get("transA", 0) or numbers.get("alpha", 1.0) != 1.0 or numbers.get("beta", 1.0) != 1.0:
        return None
    return node.input[1], bool(numbers.get("transB", 0))


def readers_of(graph: Any) -> dict[str, list[Any]]:
    """Value to the nodes of a graph that read it."""
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def bias_behind(node: Any, held: Sizes, readers: Readers) -> str:
    """Initializer (C,) that is added to a dense layer, of its own; "" where there is none."""
    names: list[str] = []
    if node.op_type == "Gemm":
        names = list(node.input[2:3])
    else:
        behind = readers.get(node.output[0], [])
        if len(behind) == 1 and behind[0].op_type == "Add":
            names = [name for name in behind[0].input if name in held]
    good = len(names) == 1 and len(held.get(names[0], ())) == 1 and len(readers[names[0]]) == 1
    return names[0] if good else ""


def hidden_values(model: Any, names: Sequence[str], feeds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Name to (N, F) values inside a graph, about 8,192 of them at most.

    Args:
        model: The graph.
        names: Of values with channels along the last axis; inputs and outputs of the graph among them.
        feeds: Inputs, at least one.
    """
    import onnx

    from omnifuse.deploy.graph_runner import open_graph

    watched = type(model)()
    watched.CopyFrom(model)
    given = {item.name for item in model.graph.input}
    shown = given | {item.name for item in model.graph.output}
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in shown
    )
    session = open_graph(watched.SerializeToString())
    asked = [name for name in names if name not in given]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    most = max(MOST_SAMPLES // len(feeds), _FEWEST_A_FEED)
    for feed in feeds:
        found = {**feed, **dict(zip(asked, session.run(asked, dict(feed)) if asked else [], strict=True))}
        for name in names:
            flat = found[name].reshape(-1, found[name].shape[-1])
            parts[name].append(flat[:: max(-(-len(flat) // most), 1)])
    return {name: np.concatenate(values) for name, values in parts.items()}
