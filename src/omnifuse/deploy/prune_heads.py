"""Whole heads taken out of attention: narrower products before and behind it, and fewer of them inside.

A head counts by how much it adds to the layer's answers on the rows at hand, measured forwards, without a gradient.
What the lost heads gave is given to those that stay, see `refit`. Attention is found as the library's own layer is
exported: one product for queries, keys and values, one behind the heads.

References: Michel, Levy and Neubig 2019, Are Sixteen Heads Really Better than One? (most heads can go; they rank by
gradients, here by what a head adds).

Shapes: N samples (rows times tokens), D width, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.deploy.dense_layers import bias_behind, dense_layer, hidden_values, readers_of
from omnifuse.deploy.quantise import fold_constants
from omnifuse.deploy.refit import refitted

# (B, T, 3, H, K) to (3, B, H, T, K), and (B, H, T, K) to (B, T, H, K)
_APART, _TOGETHER = [2, 0, 3, 1, 4], [0, 2, 1, 3]
_HEADS_PLACE = 3


@dataclass(frozen=True)
class _Attention:
    """One layer of attention.

    Attributes:
        packed: Initializer (D, 3 x H x K) of queries, keys and values.
        packed_bias: Initializer (3 x H x K,), or "".
        apart: The node that tells the heads apart.
        together: The node that puts them side by side again.
        output: Initializer (H x K, D).
        output_bias: Initializer (D,), or "".
        num_heads: H.
    """

    packed: str
    packed_bias: str
    apart: Any
    together: Any
    output: str
    output_bias: str
    num_heads: int


def prune_heads(content: bytes, feeds: Sequence[Mapping[str, np.ndarray]], share: float) -> tuple[bytes, int]:
    """Take a share of the heads out of each layer of attention, at least one of which stays.

    Args:
        content: A graph in fp32.
        feeds: Inputs on which heads are looked at.
        share: Above 0, below 1.

    Returns:
        The graph, and how many heads were taken out; the graph as it was where that are none.
    """
    import onnx

    if not feeds:
        return content, 0
    model = onnx.load_from_string(fold_constants(content))
    layers = [layer for layer in _layers(model.graph) if round(share * layer.num_heads) > 0 and layer.num_heads > 1]
    if not layers:
        return content, 0
    mixed = hidden_values(model, [layer.together.output[0] for layer in layers], feeds)
    held = {item.name: item for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    shapes: dict[str, Any] = {}
    removed = 0
    for layer in layers:
        samples = mixed[layer.together.output[0]]
        if not len(samples):
            continue
        stay = _worthiest(samples, onnx.numpy_helper.to_array(held[layer.output]), layer.num_heads, share)
        width = samples.shape[1] // layer.num_heads
        _narrow(held, layer, samples, (stay[:, None] * width + np.arange(width)).ravel())
        for node, place, size in ((layer.apart, _HEADS_PLACE, len(stay)), (layer.together, 2, len(stay) * width)):
            shapes[node.output[0]] = _resize(model.graph, node, makers, place, size)
        removed += layer.num_heads - len(stay)
    _insert(model.graph, shapes)
    del model.graph.value_info[:]
    found: bytes = model.SerializeToString()
    return (found, removed) if removed else (content, 0)


def _worthiest(samples: np.ndarray, output: np.ndarray, num_heads: int, share: float) -> np.ndarray:
    """Numbers of the heads that stay, in ascending order.

    Args:
        samples: (N, H x K) what the heads give.
        output: (H x K, D) the layer that reads them.
        num_heads: H.
        share: Of the heads that go.
    """
    count = max(1, num_heads - round(share * num_heads))
    values, weights = (np.split(array, num_heads, axis=axis) for array, axis in ((samples, 1), (output, 0)))
    # What a head gives to every token alike costs nothing to keep: the bias takes it up
    worth = [np.linalg.norm((value - value.mean(axis=0)) @ read) for value, read in zip(values, weights, strict=True)]
    return np.sort(np.argsort(-np.array(worth), kind="stable")[:count])


def _narrow(held: Mapping[str, Any], layer: _Attention, samples: np.ndarray, stay: np.ndarray) -> None:
    """Cut the matrices of a layer, in place, down to the columns of the heads that stay, (kept x K,)."""
    from onnx import numpy_helper

    def array(name: str) -> np.ndarray:
        return np.asarray(numpy_helper.to_array(held[name]))

    output, shift = refitted(samples, array(layer.output), stay, shifts=bool(layer.output_bias))
    columns = (np.arange(3)[:, None] * samples.shape[1] + stay).ravel()
    changed = {layer.packed: array(layer.packed)[:, columns], layer.output: output}
    if layer.packed_bias:
        changed[layer.packed_bias] = array(layer.packed_bias)[columns]
    if layer.output_bias:
        changed[layer.output_bias] = array(layer.output_bias) + shift
    for name, value in changed.items():
        held[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))


def _resize(graph: Any, node: Any, makers: Mapping[str, Any], place: int, size: int) -> Any | None:
    """Let a reshape give `size` at one place, in place; the node to be put before it, None where none is needed.

    The constants of a shape are shared with others, so that a shape of its own is made.
    """
    from onnx import helper, numpy_helper

    held = {item.name: item for item in graph.initializer}
    before, name = node.input[1], f"{node.output[0]}/shape"
    node.input[1] = name
    if before in held:
        values = numpy_helper.to_array(held[before]).copy()
        values[place] = size
        graph.initializer.append(numpy_helper.from_array(values, name))
        return None
    graph.initializer.append(numpy_helper.from_array(np.array([size], np.int64), f"{name}/{place}"))
    parts = list(makers[before].input)
    parts[place] = f"{name}/{place}"
    return helper.make_node("Concat", parts, [name], name=name, axis=0)


def _insert(graph: Any, shapes: Mapping[str, Any]) -> None:
    """Put new nodes before the nodes with these outputs."""
    nodes = [one for node in graph.node for one in (shapes.get(node.output[0]), node) if one is not None]
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _layers(graph: Any) -> list[_Attention]:
    """All layers of attention whose heads nothing else reads."""
    view = _View(graph)
    found = [_layer(node, view) for node in graph.node]
    return [layer for layer in found if layer is not None]


class _View:
    """A graph by its values: the initializers, who makes each value, and who reads it."""

    def __init__(self, graph: Any) -> None:
        self.initializers = {item.name: item for item in graph.initializer}
        self.sizes = {item.name: tuple(item.dims) for item in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers = readers_of(graph)
        self.outputs = {item.name for item in graph.output}

    def maker(self, value: str, kind: str) -> Any | None:
        """The node of a kind that makes a value which one node alone reads."""
        node = self.makers.get(value)
        alone = len(self.readers.get(value, ())) == 1 and value not in self.outputs
        return node if alone and node is not None and node.op_type == kind else None

    def numbers(self, name: str) -> list[int]:
        """The whole numbers of an initializer; nothing where it is none."""
        from onnx import numpy_helper

        held = self.initializers.get(name)
        return [] if held is None else [int(number) for number in numpy_helper.to_array(held).ravel()]

    def shape(self, name: str) -> list[int | None]:
        """The sizes of a shape, None where they depend on the input; nothing where that cannot be told."""
        if name in self.initializers:
            return list(self.numbers(name))
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "Concat":
            return []
        parts = [self.numbers(part) for part in maker.input]
        # Whatever is no constant is one size: a constant of several would move the places of the others
        single = all(len(part) <= 1 for part in parts)
        return [part[0] if part else None for part in parts] if single else []


def _layer(node: Any, view: _View) -> _Attention | None:
    """The attention whose answers a dense layer reads, None where it reads something else.

    From the dense layer backwards: heads side by side, the product with the values, one of three slices, heads apart,
    the product that gives queries, keys and values.
    """
    output = dense_layer(node, view.sizes)
    if output is None or output[1]:
        return None
    together = view.maker(node.input[0], "Reshape")
    turned = together and view.maker(together.input[0], "Transpose")
    product = turned and _perm(turned) == _TOGETHER and view.maker(turned.input[0], "MatMul")
    one = product and view.maker(product.input[1], "Squeeze")
    part = one and view.maker(one.input[0], "Slice")
    three = view.makers.get(part.input[0]) if part else None
    if together is None or three is None or three.op_type != "Transpose" or _perm(three) != _APART:
        return None
    apart = view.makers.get(three.input[0])
    if apart is None or apart.op_type != "Reshape" or not _cut_in_three(apart, view):
        return None
    biased = view.maker(apart.input[0], "Add")
    inner = biased and next((name for name in biased.input if name in view.makers), None)
    first = inner and view.maker(inner, "MatMul")
    packed = dense_layer(first, view.sizes) if first else None
    if not first or packed is None:
        return None
    bias = bias_behind(first, view.sizes, view.readers)
    sizes, whole = view.shape(apart.input[1]), view.shape(together.input[1])
    if not bias or len(sizes) != 5 or len(whole) != 3 or sizes[2] != 3 or sizes[3] is None or sizes[4] is None:
        return None
    width = sizes[3] * sizes[4]
    fits = (view.sizes[packed[0]][1], view.sizes[output[0]][0]) == (3 * width, width)
    if not fits or any(len(view.readers[name]) > 1 for name in (packed[0], output[0])):
        return None
    back = bias_behind(node, view.sizes, view.readers)
    return _Attention(packed[0], bias, apart, together, output[0], back, sizes[3])


def _cut_in_three(apart: Any, view: _View) -> bool:
    """Whether all that is done to (B, T, 3, H, K) is to take one of the three, turned over before or not."""
    left = [(apart.output[0], 2)]
    while left:
        value, axis = left.pop()
        if value in view.outputs:
            return False
        for reader in view.readers.get(value, ()):
            if reader.op_type == "Transpose" and axis == 2 and _perm(reader) == _APART:
                left.append((reader.output[0], 0))
            elif reader.op_type != "Slice" or len(reader.input) < 4 or view.numbers(reader.input[3]) != [axis]:
                return False
    return True


def _perm(node: Any) -> list[int]:
    return next((list(one.ints) for one in node.attribute if one.name == "perm"), [])
