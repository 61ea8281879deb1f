"""A graph in ONNX to one that multiplies whole numbers of 8 bits: weights a quarter as large, products faster.

Dynamic: weights are rounded once, one scale for each output channel; activations are rounded as they come, by their own
range. It needs no rows and touches dense layers alone. Static: the ranges of activations are those seen on calibration
rows, so convolutions are quantised too. Weights take 7 of the 8 bits: with 8, processors without VNNI saturate and
answer otherwise than the machine that made the graph.

References: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.errors import MissingDependencyError

Feed = Mapping[str, np.ndarray]
DENSE, CONVOLVED = ("MatMul", "Gemm"), ("MatMul", "Gemm", "Conv")
# What ONNX Runtime says unless told otherwise
_WARNINGS = 2
_INTEGER = {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DequantizeLinear"}


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


def quantise_dynamic(content: bytes) -> bytes | None:
    """Dense layers in whole numbers, activations rounded by their own range.

    Args:
        content: A graph in fp32.

    Returns:
        The graph, or None where it holds no dense layer that the quantiser can change.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def write(model: Any, path: Path) -> None:
        quantize_dynamic(
            model,
            path,
            nodes_to_exclude=_batched(model),
            op_types_to_quantize=list(DENSE),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            # Products of two activations (attention) keep their precision
            extra_options={"MatMulConstBOnly": True},
        )

    return _written(content, write)


def quantise_static(content: bytes, feeds: Sequence[Feed]) -> bytes | None:
    """Dense layers and convolutions in whole numbers, activations rounded by the ranges that the feeds show.

    Args:
        content: A graph in fp32.
        feeds: Inputs to calibrate on.

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
            nodes_to_exclude=_batched(model),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(CONVOLVED),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )

    return _written(content, write)


def _batched(model: Any) -> list[str]:
    """Names of products whose weights are a stack of matrices: the runtime has no whole numbers for them."""
    shapes = {item.name: len(item.dims) for item in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and shapes.get(node.input[1], 2) != 2]


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
