"""A trained model to ONNX graphs, checked on real rows before it is written.

Shapes: E members, P rows, L steps, B rows, T tokens, D width, S features.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from omnifuse.data.pack import Pack
from omnifuse.deploy.graph_folder import FUSION_FILE, FieldSignature, GraphSignature, graph_file
from omnifuse.deploy.graphs import POOLED, FieldGraph, FusionGraph
from omnifuse.deploy.member_graphs import TracedMember, repeat_members
from omnifuse.errors import MissingDependencyError, OmnifuseError
from omnifuse.model import MultimodalModel
from omnifuse.schema import Modality

OPSET = 20
# Rows and steps of what is traced: unlike one another and unlike the sizes of a network, so that no axis is taken for
# another one
TRACED_ROWS, TRACED_STEPS, TRACED_TOKENS = 3, 37, 5
# Each row has one step, or several media that are rows to the encoder
WITHOUT_STEPS = (Modality.IMAGE, Modality.TABLE, Modality.DATE, Modality.PLACE)


def need_export() -> None:
    """Raise `MissingDependencyError` where the packages that write graphs are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is not installed", fix="Run: pip install 'omnifuse[export]'"
        ) from None


def export_graphs(
    members: Sequence[MultimodalModel], modalities: Mapping[str, Modality], packs: Mapping[str, Pack]
) -> tuple[GraphSignature, dict[str, bytes]]:
    """Trace every encoder and the fusion.

    Args:
        members: Networks of the same fields and targets, in eval mode.
        modalities: Field to its modality.
        packs: Field to decoded rows, of which one row each is traced: their types and shapes count, not their values.

    Returns:
        What the graphs take and give, and file name to content.

    Raises:
        OmnifuseError: A part cannot be exported, says which.
    """
    fields: dict[str, FieldSignature] = {}
    graphs: dict[str, bytes] = {}
    for number, name in enumerate(members[0].fields):
        file = graph_file(name, number)
        fields[name], graphs[file] = export_field(members, name, file, modalities[name], packs[name])
    fusion, graphs[FUSION_FILE] = export_fusion(members, fields)
    signature = GraphSignature(fields, tuple(fusion.inputs), tuple(fusion.outputs), len(members))
    return signature, graphs


def export_field(
    members: Sequence[MultimodalModel], name: str, file: str, modality: Modality, pack: Pack
) -> tuple[FieldSignature, bytes]:
    """Trace the encoder of one field.

    Args:
        members: Networks, in eval mode.
        name: The field.
        file: Name of its graph's file.
        modality: Of the field.
        pack: Decoded rows of it.
    """
    steps = modality not in WITHOUT_STEPS
    encoder: Any = members[0].encoders[members[0].fields.index(name)]
    unable = getattr(encoder, "not_exported", "")
    if unable:
        raise OmnifuseError(
            f"the encoder of '{name}' cannot be exported", where=unable, fix="Answer with the model itself"
        )
    # Some backbones read no more than so many steps
    longest = min(TRACED_STEPS, int(getattr(encoder, "most_steps", TRACED_STEPS)))
    arrays = _example(pack, longest if steps else 1)
    inputs = tuple(torch.from_numpy(array) for array in arrays.values())
    with torch.inference_mode():
        traced = FieldGraph(members[0], name, tuple(arrays)).eval()(*inputs)
    axes = {0: "rows", 1: "steps"} if steps else {0: "rows"}
    outputs = ["tokens", "features"][: len(traced)]

    def trace(graph: nn.Module) -> Any:
        return _graph(f"encoder of '{name}'", graph, inputs, tuple(arrays), outputs, [axes] * len(arrays))

    content = repeat_members(_traced([FieldGraph(member, name, tuple(arrays)) for member in members], trace))
    features = traced[1].shape[-1] if len(traced) > 1 else 0
    kinds = tuple((array, str(values.dtype)) for array, values in arrays.items())
    # An ensemble's encoder gives a token a member, and its heads are as many
    places = getattr(encoder, "num_members", 0)
    return FieldSignature(file, kinds, traced[0].shape[-1], features, steps, int(places)), content


def _example(pack: Pack, steps: int) -> dict[str, np.ndarray]:
    """Arrays (P, L, ...) of one row, its steps repeated to L, three times; of zeros where no row has the field."""
    rows = np.flatnonzero(pack.present)
    one = pack.row(int(rows[0])) if len(rows) else {}
    found = {}
    for name, array in pack.arrays.items():
        values = one.get(name, np.zeros((1, *array.shape[1:]), array.dtype))
        index = np.arange(steps) % len(values)
        found[name] = np.ascontiguousarray(np.stack([values[index]] * TRACED_ROWS))
    return found


def export_fusion(
    members: Sequence[MultimodalModel], fields: Mapping[str, FieldSignature]
) -> tuple[FusionGraph, bytes]:
    """Trace what comes behind the encoders.

    Args:
        members: Networks, in eval mode.
        fields: Field to what its graph gives.
    """
    parts = [FusionGraph(member) for member in members]
    fusion = parts[0]
    inputs: list[torch.Tensor] = []
    axes: list[dict[int, str]] = []
    for number, name in enumerate(fusion.fields):
        places = fields[name].places or TRACED_TOKENS + number
        inputs += [torch.zeros(TRACED_ROWS, places, fields[name].width)]
        inputs += [torch.ones(TRACED_ROWS, places, dtype=torch.bool)]
        axes += [{0: "rows"} if fields[name].places else {0: "rows", 1: f"places_{number}"}] * 2
    for name in fusion.summarised:
        inputs.append(torch.zeros(TRACED_ROWS, fields[name].features))
        axes.append({0: "rows"})
    outputs = [f"output_{number}" for number in range(len(fusion.outputs))]

    def trace(graph: nn.Module) -> Any:
        return _graph("fusion", graph, tuple(inputs), tuple(fusion.inputs), outputs, axes)

    apart = [name for name in fusion.inputs if not name.startswith("mask")]
    joined = [name for name, (kind, _, _) in zip(outputs, fusion.outputs, strict=True) if kind == POOLED]
    return fusion, repeat_members(_traced(parts, trace), apart=apart, joined=joined)


def _traced(parts: Sequence[nn.Module], trace: Callable[[nn.Module], Any]) -> list[TracedMember]:
    """Each member's graph; members of one architecture share the trace of the first of them."""
    kept: dict[str, Any] = {}
    found = []
    for part in parts:
        # Under all names: what several parts share has several
        held = (*part.named_parameters(remove_duplicate=False), *part.named_buffers(remove_duplicate=False))
        values = {name: item.detach().numpy() for name, item in held}
        architecture = f"{part} {[(name, item.shape) for name, item in values.items()]}"
        if architecture not in kept:
            kept[architecture] = trace(part.eval())
        found.append(TracedMember(kept[architecture], values))
    return found


def _graph(
    what: str,
    module: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    axes: Sequence[Mapping[int, str]],
) -> Any:
    """One module as an ONNX model whose initializers are its parameters and buffers."""
    # What else follows for an axis (its sizes in other inputs, its smallest) is found by tracing
    shapes: Any = (tuple(dict.fromkeys(one, torch.export.Dim.DYNAMIC) for one in axes),)
    try:
        with _quietly():
            program = torch.onnx.export(
                module,
                inputs,
                input_names=list(names),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                # Folding would make one member's weights part of the graph; the runtime folds when it opens it
                optimize=False,
            )
            assert program is not None
    except Exception as error:
        raise OmnifuseError(
            f"the {what} cannot be exported",
            where=_reason(error),
            fix="Leave out the part, or report it with the command that made the model",
        ) from error
    return program.model_proto


def _reason(error: BaseException) -> str:
    """What went wrong first, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter tells its developers: thousands of lines, and packages that nothing here needs."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.__trace")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
