"""Hidden channels taken out of pairs of dense layers: smaller matrices, so that fewer products are computed.

A channel counts by how large it is on the rows at hand times the weights that read it. What is taken out is given to
the channels that stay, see `refit`.

References: Wanda (Sun et al. 2024, A Simple and Effective Pruning Approach for Large Language Models) for weight
times activation.

Shapes: N samples (rows times tokens), D input width, F hidden channels, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.deploy.dense_layers import bias_behind, dense_layer, hidden_values, readers_of
from omnifuse.deploy.quantise import fold_constants
from omnifuse.deploy.refit import refitted

# Between both layers: what treats each channel by itself and is the same for all of them
POINTWISE = {"Gelu", "Relu", "Tanh", "Sigmoid", "Erf", "Identity"}
# Fewer hidden channels are not worth a cut; so many stay
FEWEST_CHANNELS, LEAST_KEPT = 16, 8


@dataclass(frozen=True)
class _Pair:
    """Two dense layers with a pointwise function between.

    Attributes:
        first: Initializer (D, F), or (F, D) where turned over.
        turned: Whether it is turned over.
        bias: Initializer (F,), or "".
        hidden: Name of the value (..., F) that the second layer reads.
        second: Initializer (F, C), or (C, F) where turned over.
        second_turned: Whether it is turned over.
        second_bias: Initializer (C,), or "".
    """

    first: str
    turned: bool
    bias: str
    hidden: str
    second: str
    second_turned: bool
    second_bias: str


def prune_channels(content: bytes, feeds: Sequence[Mapping[str, np.ndarray]], share: float) -> tuple[bytes, int]:
    """Take a share of the hidden channels out of each pair of dense layers.

    Args:
        content: A graph in fp32.
        feeds: Inputs on which channels are looked at.
        share: Above 0, below 1.

    Returns:
        The graph, and how many channels were taken out; the graph as it was where that are none.
    """
    import onnx
    from onnx import numpy_helper

    if not feeds:
        return content, 0
    model = onnx.load_from_string(fold_constants(content))
    pairs = _pairs(model.graph)
    if not pairs:
        return content, 0
    hidden = hidden_values(model, [pair.hidden for pair in pairs], feeds)
    held = {item.name: item for item in model.graph.initializer}
    removed = 0
    for pair in pairs:
        samples = hidden[pair.hidden]
        if not len(samples):
            continue
        read = numpy_helper.to_array(held[pair.second])
        outer = read.T if pair.second_turned else read
        stay = _worthiest(samples, outer, share)
        outer, shift = refitted(samples, outer, stay, shifts=bool(pair.second_bias))
        inner = numpy_helper.to_array(held[pair.first])
        changed = {pair.first: inner[stay] if pair.turned else inner[:, stay]}
        changed[pair.second] = outer.T if pair.second_turned else outer
        if pair.bias:
            changed[pair.bias] = numpy_helper.to_array(held[pair.bias])[stay]
        if pair.second_bias:
            changed[pair.second_bias] = numpy_helper.to_array(held[pair.second_bias]) + shift
        for name, value in changed.items():
            held[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        removed += samples.shape[1] - len(stay)
    del model.graph.value_info[:]
    found: bytes = model.SerializeToString()
    return (found, removed) if removed else (content, 0)


def _worthiest(samples: np.ndarray, outer: np.ndarray, share: float) -> np.ndarray:
    """Numbers of the channels that stay, in ascending order.

    Args:
        samples: (N, F) hidden values.
        outer: (F, C) the second layer.
        share: Of the channels that go.
    """
    width = samples.shape[1]
    count = max(LEAST_KEPT, width - round(share * width))
    worth = np.sqrt((samples.astype(np.float64) ** 2).mean(axis=0)) * np.linalg.norm(outer.astype(np.float64), axis=1)
    return np.sort(np.argsort(-worth, kind="stable")[:count])


def _pairs(graph: Any) -> list[_Pair]:
    """The pairs of dense layers whose hidden values nothing else reads."""
    held = {item.name: tuple(item.dims) for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph)
    outputs = {item.name for item in graph.output}
    found = []
    for node in graph.node:
        second = dense_layer(node, held)
        if second is None:
            continue
        value = node.input[0]
        while value in makers and makers[value].op_type in POINTWISE and _once(value, readers, outputs):
            value = makers[value].input[0]
        if value == node.input[0] or value not in makers or not _once(value, readers, outputs):
            continue
        maker, bias = makers[value], ""
        if maker.op_type == "Add":
            constants = [name for name in maker.input if name in held]
            if len(constants) != 1 or len(held[constants[0]]) != 1:
                continue
            bias = constants[0]
            inner = next(name for name in maker.input if name != bias)
            if inner not in makers or not _once(inner, readers, outputs):
                continue
            maker = makers[inner]
        first = dense_layer(maker, held)
        if first is None or (maker.op_type == "Gemm" and bias):
            continue
        if maker.op_type == "Gemm":
            bias = maker.input[2] if len(maker.input) > 2 else ""
        width = held[second[0]][1 if second[1] else 0]
        own = [first[0], second[0], *([bias] if bias else [])]
        alone = all(len(readers[name]) == 1 for name in own) and (not bias or held.get(bias) == (width,))
        if width >= FEWEST_CHANNELS and alone and held[first[0]][0 if first[1] else 1] == width:
            found.append(_Pair(*first, bias, node.input[0], *second, bias_behind(node, held, readers)))
    return found


def _once(value: str, readers: Mapping[str, Sequence[Any]], outputs: set[str]) -> bool:
    return len(readers.get(value, [])) == 1 and value not in outputs
