"""The ONNX graph of one network, repeated for every member of an ensemble with the member's own weights.

Members of one architecture differ in their weights alone, so one of them is traced: that takes a fifth of the time for
five, and what the exporter names or merges in one member never meets another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class TracedMember:
    """One network's graph.

    Attributes:
        model: Its initializers are named as the network's parameters and buffers.
        values: Parameter or buffer to its value.
    """

    model: onnx.ModelProto
    values: Mapping[str, np.ndarray]


def repeat_members(members: Sequence[TracedMember], *, apart: Sequence[str] = (), joined: Sequence[str] = ()) -> bytes:
    """One graph in which every member answers.

    Args:
        members: Graphs with equal inputs and outputs.
        apart: Inputs that hold each member's own values along a new first axis; the others are shared.
        joined: Outputs that lie side by side along the last axis; the others get a new first axis for the member.

    Raises:
        ValueError: An initializer is none of the network's parameters and buffers.
    """
    from onnx import helper, numpy_helper

    first = members[0].model
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    shared: dict[bytes, str] = {}

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    axis = constant("first_axis", np.array([0], np.int64))
    for number, member in enumerate(members):
        graph, start = member.model.graph, f"m{number}/"
        names = {item.name: item.name for item in graph.input if item.name not in apart}
        for item in apart:
            names[item] = f"{start}{item}"
            index = constant(f"{start}index/{item}", np.array(number, np.int64))
            nodes.append(helper.make_node("Gather", [item, index], [names[item]], axis=0))
        for held in graph.initializer:
            if held.name not in member.values:
                raise ValueError(f"'{held.name}' is no parameter or buffer of the network")
            # What all members share (positions, windows of a spectrum) is kept once
            value = numpy_helper.from_array(np.ascontiguousarray(member.values[held.name]), f"{start}{held.name}")
            same = held.name.encode() + value.raw_data
            if same not in shared:
                shared[same] = value.name
                weights.append(value)
            names[held.name] = shared[same]
        nodes += (_renamed(node, names, start) for node in graph.node)
    for item in first.graph.output:
        parts = [f"m{number}/{item.name}" for number in range(len(members))]
        if item.name not in joined:
            for number, part in enumerate(parts):
                parts[number] = f"{part}/row"
                nodes.append(helper.make_node("Unsqueeze", [part, axis], [parts[number]]))
        nodes.append(helper.make_node("Concat", parts, [item.name], axis=-1 if item.name in joined else 0))
    inputs = [_with_members(item, len(members)) if item.name in apart else item for item in first.graph.input]
    outputs = [item if item.name in joined else _with_members(item, len(members)) for item in first.graph.output]
    for item in outputs:
        if item.name in joined:
            # As many times as wide as one member's
            item.type.tensor_type.shape.dim[-1].Clear()
    graph = helper.make_graph(nodes, "members", inputs, outputs, initializer=weights)
    model = helper.make_model(graph, opset_imports=first.opset_import, functions=first.functions)
    model.ir_version = first.ir_version
    content: bytes = model.SerializeToString()
    return content


def _renamed(node: onnx.NodeProto, names: Mapping[str, str], start: str) -> onnx.NodeProto:
    """A copy of a node whose values are this member's."""
    found: Any = type(node)()
    found.CopyFrom(node)
    found.name = f"{start}{node.name}"
    for places in (found.input, found.output):
        for number, name in enumerate(places):
            # An empty name is an input that is left out
            places[number] = names.get(name, f"{start}{name}") if name else ""
    for held in found.attribute:
        for inner in [held.g, *held.graphs] if held.HasField("g") or held.graphs else []:
            _rename_inner(inner, names, start)
    return found


def _rename_inner(graph: Any, names: Mapping[str, str], start: str) -> None:
    """Rename the values of a branch or loop body in place; its own inputs and outputs too."""
    nodes = [_renamed(node, names, start) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for places in (graph.input, graph.output, graph.initializer):
        for item in places:
            item.name = names.get(item.name, f"{start}{item.name}")


def _with_members(item: onnx.ValueInfoProto, count: int) -> onnx.ValueInfoProto:
    """The same value with a first axis for the members."""
    from onnx import helper

    kind = item.type.tensor_type
    shape = [one.dim_value or one.dim_param or None for one in kind.shape.dim]
    return helper.make_tensor_value_info(item.name, kind.elem_type, [count, *shape])
