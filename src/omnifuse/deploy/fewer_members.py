"""The graphs of an ensemble with only some of its members: the cheapest compression there is.

Members lie side by side in each graph and meet only where their answers are put together, see `member_graphs`. So a
member is left out by leaving its answer out, and with it all that leads to no other answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from omnifuse.deploy.graph_set import GraphSet

_MEMBER = re.compile(r"m(\d+)/")
_INDEX = re.compile(r"m(\d+)/index/(.+)")


def keep_members(graphs: GraphSet, kept: Sequence[int]) -> GraphSet:
    """All graphs with some members alone.

    Args:
        graphs: As exported: folding constants forgets whose is what.
        kept: Numbers of members, in ascending order.

    Raises:
        ValueError: A graph does not put its members together as the export does.
    """
    signature = replace(graphs.signature, num_members=len(kept))
    return GraphSet(signature, {file: _kept(content, kept) for file, content in graphs.contents.items()})


def _kept(content: bytes, kept: Sequence[int]) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    places = {member: place for place, member in enumerate(kept)}
    makers = {name: node for node in graph.node for name in node.output}
    apart = {found[2] for item in graph.initializer if (found := _INDEX.fullmatch(item.name))}
    for item in graph.output:
        node = makers[item.name]
        if node.op_type != "Concat":
            raise ValueError(f"output '{item.name}' is no row of members")
        parts = [name for name in node.input if _member(name) in places]
        del node.input[:]
        node.input.extend(parts)
        if next(one.i for one in node.attribute if one.name == "axis") == 0:
            _set_members(item, len(kept))
    for item in graph.input:
        if item.name in apart:
            _set_members(item, len(kept))
    drop_unread(graph)
    for held in graph.initializer:
        if found := _INDEX.fullmatch(held.name):
            name = held.name
            held.CopyFrom(onnx.numpy_helper.from_array(np.array(places[int(found[1])], np.int64), name))
    del graph.value_info[:]
    result: bytes = model.SerializeToString()
    return result


def _member(name: str) -> int:
    found = _MEMBER.match(name)
    if found is None:
        raise ValueError(f"'{name}' belongs to no member")
    return int(found[1])


def _set_members(item: Any, count: int) -> None:
    item.type.tensor_type.shape.dim[0].dim_value = count


def drop_unread(graph: Any) -> None:
    """Take out of a graph, in place, the nodes and initializers that lead to no output."""
    makers = {name: number for number, node in enumerate(graph.node) for name in node.output}
    wanted, seen, nodes = [item.name for item in graph.output], set[str](), set[int]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in makers and makers[name] not in nodes:
            nodes.add(makers[name])
            wanted += _read(graph.node[makers[name]])
    left = [node for number, node in enumerate(graph.node) if number in nodes]
    held = [item for item in graph.initializer if item.name in seen]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(left)
    graph.initializer.extend(held)


def _read(node: Any) -> list[str]:
    """Names that a node reads, those in the bodies of its branches and loops too."""
    names = [name for name in node.input if name]
    for held in node.attribute:
        for inner in [held.g, *held.graphs] if held.HasField("g") or held.graphs else []:
            names += [name for one in inner.node for name in _read(one)] + [item.name for item in inner.output]
    return names
