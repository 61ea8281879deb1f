"""A graph in ONNX to one that multiplies whole numbers of 8 bits: weights a quarter as large, products faster.

Dynamic: weights are rounded once, one scale for each output channel; activations are rounded as they come, by their own
range. It needs no rows and touches dense layers and looked-up vectors alone. Static: the ranges of activations are
those seen on calibration rows, so convolutions are quantised too. Weights take 7 of the 8 bits: with 8, processors
without VNNI saturate and answer otherwise than the machine that made the graph.

What ONNX Runtime makes of them decides the layout. It fuses a dense layer into one kernel of whole numbers
(DynamicQuantizeMatMul, MatMulIntegerToFloat) where the layer gives numbers with a point. So outputs of dense layers are
not rounded; those of convolutions are, since there is no such kernel for them. Products of two activations, as in
attention, stay as they are: rounding them costs more than it gains.

References: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference.

Shapes: N samples (rows times tokens), D inputs, C outputs of a dense layer.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.errors import MissingDependencyError

Feed = Mapping[str, np.ndarray]
DENSE, CONVOLVED, LOOKED_UP = ("MatMul", "Gemm"), ("Conv",), ("Gather",)
# What ONNX Runtime says unless told otherwise
_WARNINGS = 2
_INTEGER = {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DequantizeLinear"}
# Steps of activations, and of weights to either side of 0
_ACTIVATION_STEPS, _WEIGHT_STEPS = 255, 64


def need_quantisation() -> None:
    """Raise `MissingDependencyError` where the packages that rewrite graphs are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is not installed", fix="Run: pip install 'omnifuse[export]'"
        ) from None


def fold_constants(content: bytes) -> bytes:
    """The same graph with everything computed that no input changes, such as weights that are turned over.

    Only what every processor runs: no layer of one vendor, no order of memory of one machine.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def quantise_dynamic(content: bytes, *, keep: Collection[str] = ()) -> bytes | None:
    """Dense layers and looked-up vectors in whole numbers, activations rounded by their own range.

    Args:
        content: A graph in fp32.
        keep: Names of layers that stay as they are.

    Returns:
        The graph, or None where it holds nothing that the quantiser can change.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def write(model: Any, path: Path) -> None:
        quantize_dynamic(
            model,
            path,
            nodes_to_exclude=[*_without_weights(model), *keep],
            op_types_to_quantize=[*DENSE, *LOOKED_UP],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )

    return _written(content, write)


def quantise_static(content: bytes, feeds: Sequence[Feed], *, keep: Collection[str] = ()) -> bytes | None:
    """Dense layers, convolutions and looked-up vectors in whole numbers, activations by the ranges that feeds show.

    Args:
        content: A graph in fp32.
        feeds: Inputs to calibrate on.
        keep: Names of layers that stay as they are.

    Returns:
        The graph, or None where there is nothing that the quantiser can change or nothing to calibrate on.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    if not feeds:
        return None

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The feeds one after the other."""

        def __init__(self) -> None:
            self.feeds: Iterator[Feed] = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self.feeds, None)

    def write(model: Any, path: Path) -> None:
        quantize_static(
            model,
            path,
            Reader(),
            nodes_to_exclude=[*_without_weights(model), *keep],
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*DENSE, *CONVOLVED, *LOOKED_UP],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": list(DENSE)},
        )

    return _written(content, write)


def _without_weights(model: Any) -> list[str]:
    """Names of products of two activations, and of those with a stack of matrices: the runtime has no whole numbers
    for these.
    """
    widths = {item.name: len(item.dims) for item in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in DENSE and widths.get(node.input[1]) != 2]


def noisiest_layers(content: bytes, feeds: Sequence[Feed]) -> list[str]:
    """Names of the dense layers, those first whose answers rounding to 8 bits moves most.

    Each layer is looked at by itself, on what reaches it in fp32: its noise is the size of what rounding adds to its
    answers over the size of these.

    Args:
        content: A graph in fp32.
        feeds: Inputs that it is looked at with.
    """
    import onnx
    from onnx import numpy_helper

    from omnifuse.deploy.dense_layers import dense_layer, hidden_values

    if not feeds:
        return []
    model = onnx.load_from_string(fold_constants(content))
    held = {item.name: item for item in model.graph.initializer}
    sizes = {name: tuple(item.dims) for name, item in held.items()}
    layers = [(node, found) for node in model.graph.node if (found := dense_layer(node, sizes)) is not None]
    values = hidden_values(model, sorted({node.input[0] for node, _ in layers}), feeds)
    noise = {}
    for node, (name, turned) in layers:
        weights = numpy_helper.to_array(held[name])
        noise[node.name] = rounding_noise(values[node.input[0]], weights.T if turned else weights)
    return sorted(noise, key=lambda name: -noise[name])


def rounding_noise(samples: np.ndarray, weights: np.ndarray) -> float:
    """How far rounding to 8 bits moves a dense layer's answers, as a share of their size.

    Args:
        samples: (N, D) what reaches it.
        weights: (D, C).

    Example:
        >>> rounding_noise(np.array([[1.0, -1.0]]), np.array([[1.0], [1.0]]))
        0.0
        >>> 0.1 < rounding_noise(np.array([[0.2, 100.0]]), np.array([[1.0], [0.0]])) <= 1.0
        True
    """
    if not samples.size:
        return 0.0
    low, high = min(float(samples.min()), 0.0), max(float(samples.max()), 0.0)
    step = (high - low) / _ACTIVATION_STEPS or 1.0
    steps = np.abs(weights).max(axis=0) / _WEIGHT_STEPS
    steps = np.where(steps > 0, steps, 1.0)
    rounded = (np.round(samples / step) * step) @ (np.round(weights / steps) * steps)
    exact = samples @ weights
    return float(np.linalg.norm(rounded - exact) / max(float(np.linalg.norm(exact)), 1e-12))


def is_quantised(content: bytes) -> bool:
    """Whether any layer of a graph computes with whole numbers of 8 bits."""
    import onnx

    return any(node.op_type in _INTEGER for node in onnx.load_from_string(content).graph.node)


def _written(content: bytes, write: Any) -> bytes | None:
    import onnx

    folded = fold_constants(content)
    with tempfile.TemporaryDirectory() as folder, _quietly():
        path = Path(folder) / "int8.onnx"
        try:
            write(onnx.load_from_string(folded), path)
        except Exception:
            # The quantiser guesses shapes, wrongly for some sequences, and then fails with whatever it meets first
            return None
        model = onnx.load(path)
    # Those guesses again, which the runtime would trust
    del model.graph.value_info[:]
    found: bytes = model.SerializeToString()
    return found if is_quantised(found) else None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice that the quantiser gives its developers, and what the runtime says where it fails."""
    import onnxruntime

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    onnxruntime.set_default_logger_severity(4)
    try:
        yield
    finally:
        logging.disable(before)
        onnxruntime.set_default_logger_severity(_WARNINGS)
