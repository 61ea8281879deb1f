"""Hidden channels taken out of pairs of dense layers: smaller matrices, so that fewer products are computed.

A channel counts by how large it is on the rows at hand times the weights that read it. What is taken out is given to
the channels that stay: the second layer is fitted anew, by ridge regression, so that it gives what it gave before. No
label is needed for that, and no training.

References: Wanda (Sun et al. 2024, A Simple and Effective Pruning Approach for Large Language Models) for weight
times activation; the refit is least squares as in He et al. 2017, Channel Pruning for Accelerating Very Deep Neural
Networks, equation 5.

Shapes: N samples (rows times tokens), D input width, F hidden channels, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.deploy.quantise import fold_constants

# Between both layers: what treats each channel by itself and is the same for all of them
POINTWISE = {"Gelu", "Relu", "Tanh", "Sigmoid", "Erf", "Identity"}
# Fewer hidden channels are not worth a cut; so many stay
FEWEST_CHANNELS, LEAST_KEPT = 16, 8
# Strengths of the ridge, as shares of a channel's mean square
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
MOST_SAMPLES = 8192


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
    hidden = _values(model, [pair.hidden for pair in pairs], feeds)
    held = {item.name: item for item in model.graph.initializer}
    removed = 0
    for pair in pairs:
        samples = hidden[pair.hidden]
        if not len(samples):
            continue
        read = numpy_helper.to_array(held[pair.second])
        outer = read.T if pair.second_turned else read
        stay, outer, shift = _fitted(samples, outer, share, shifts=bool(pair.second_bias))
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


def _fitted(
    samples: np.ndarray, outer: np.ndarray, share: float, *, shifts: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Channels that stay, the second layer (kept, C) fitted to give what it gave, and what its bias (C,) gains.

    Args:
        samples: (N, F) hidden values.
        outer: (F, C) the second layer.
        share: Of the channels that go.
        shifts: Whether there is a bias to take up what channels gave on average.
    """
    width = samples.shape[1]
    count = max(LEAST_KEPT, width - round(share * width))
    values, weights = samples.astype(np.float64), outer.astype(np.float64)
    worth = np.sqrt((values**2).mean(axis=0)) * np.linalg.norm(weights, axis=1)
    order = np.argsort(-worth, kind="stable")
    stay, gone = np.sort(order[:count]), order[count:]
    mean = values.mean(axis=0) if shifts else np.zeros(width)
    centred = values - mean
    more = _refitted(centred[:, stay], centred[:, gone] @ weights[gone])
    shift = mean[gone] @ weights[gone] - mean[stay] @ more
    return stay, weights[stay] + more, shift


def _refitted(kept: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """(kept, C) that gives best what was lost (N, C), as strong as does best on samples that it was not fitted to."""
    halves = np.arange(len(kept)) % 2 == 0
    errors = {0.0: 0.0, **dict.fromkeys(RIDGES, 0.0)}
    for fitted in (halves, ~halves) if len(kept) > 1 else ():
        errors[0.0] += float((lost[~fitted] ** 2).sum())
        for ridge in RIDGES:
            rest = lost[~fitted] - kept[~fitted] @ _ridge(kept[fitted], lost[fitted], ridge)
            errors[ridge] += float((rest**2).sum())
    best = min(errors, key=lambda ridge: errors[ridge])
    return _ridge(kept, lost, best) if best else np.zeros((kept.shape[1], lost.shape[1]))


def _ridge(kept: np.ndarray, lost: np.ndarray, ridge: float) -> np.ndarray:
    gram = kept.T @ kept / len(kept)
    gram += (ridge * np.trace(gram) / len(gram) + 1e-12) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram, kept.T @ lost / len(kept)))


def _values(model: Any, names: Sequence[str], feeds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Name to (N, F) values inside a graph, at most 8,192 of them."""
    import onnx

    from omnifuse.deploy.graph_runner import open_graph

    watched = type(model)()
    watched.CopyFrom(model)
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = open_graph(watched.SerializeToString())
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    most = max(MOST_SAMPLES // len(feeds), 64)
    for feed in feeds:
        for name, value in zip(names, session.run(list(names), dict(feed)), strict=True):
            flat = value.reshape(-1, value.shape[-1])
            parts[name].append(flat[:: max(len(flat) // most, 1)])
    return {name: np.concatenate(found) for name, found in parts.items()}


def _pairs(graph: Any) -> list[_Pair]:
    """The pairs of dense layers whose hidden values nothing else reads."""
    held = {item.name: tuple(item.dims) for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {item.name for item in graph.output}
    found = []
    for node in graph.node:
        second = _dense(node, held)
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
        first = _dense(maker, held)
        if first is None or (maker.op_type == "Gemm" and bias):
            continue
        if maker.op_type == "Gemm":
            bias = maker.input[2] if len(maker.input) > 2 else ""
        width = held[second[0]][1 if second[1] else 0]
        own = [first[0], second[0], *([bias] if bias else [])]
        alone = all(len(readers[name]) == 1 for name in own) and (not bias or held.get(bias) == (width,))
        if width >= FEWEST_CHANNELS and alone and held[first[0]][0 if first[1] else 1] == width:
            found.append(_Pair(*first, bias, node.input[0], *second, _bias_behind(node, held, readers)))
    return found


def _dense(node: Any, held: Mapping[str, tuple[int, ...]]) -> tuple[str, bool] | None:
    """Initializer of a dense layer, and whether it is turned over; None where the node is none."""
    if node.op_type not in ("MatMul", "Gemm") or len(held.get(node.input[1], ())) != 2 or node.input[0] in held:
        return None
    numbers = {one.name: one.f if one.name in ("alpha", "beta") else one.i for one in node.attribute}
    if numbers.get("transA", 0) or numbers.get("alpha", 1.0) != 1.0 or numbers.get("beta", 1.0) != 1.0:
        return None
    return node.input[1], bool(numbers.get("transB", 0))


def _bias_behind(node: Any, held: Mapping[str, tuple[int, ...]], readers: Mapping[str, list[Any]]) -> str:
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


def _once(value: str, readers: Mapping[str, list[Any]], outputs: set[str]) -> bool:
    return len(readers.get(value, [])) == 1 and value not in outputs
