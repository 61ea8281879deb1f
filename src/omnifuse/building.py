"""From a specification to a network: looks up the parts by name and hands them, built, to the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from omnifuse.association import ALIGNMENTS, Space
from omnifuse.encoders import EncoderOptions, Projectors, SharedTrunk, encoder_entry
from omnifuse.fusion import FUSIONS
from omnifuse.layers import set_stochastic_depth
from omnifuse.model import MultimodalModel
from omnifuse.presets import ENSEMBLE, ENSEMBLE_FUSION, ModelSpec
from omnifuse.schema import Modality, Schema, Target
from omnifuse.tasks import (
    SHALLOW_HEADS,
    TASKS,
    WRITING_TASKS,
    WriterOptions,
    build_shallow,
    readable_widths,
    shallow_names,
    thumbnail_widths,
)


def build_from_spec(
    schema: Schema, preprocessors: Mapping[str, Any], spec: ModelSpec, *, member: int = 0
) -> MultimodalModel:
    """Build one network for the inputs and targets of a schema.

    Args:
        schema: Inputs and targets.
        preprocessors: Input to fitted preprocessor.
        spec: What to build.
        member: Number of the member, which tells its fusion in an ensemble of fusions.

    Raises:
        InputError: An encoder's name is unknown or reads another modality.
    """
    options = EncoderOptions(spec.dim, spec.encoder_depth, spec.num_heads, spec.dropout, spec.gated)
    encoders: dict[str, nn.Module] = {}
    modalities: dict[str, Modality] = {}
    for item in schema.inputs:
        entry = encoder_entry(spec.encoder_of(item.name, item.modality), item.modality)
        encoders[item.name] = entry.build(preprocessors[item.name], options)
        modalities[item.name] = item.modality
    names = tuple(encoders)
    widths = {name: int(getattr(encoder, "dim", spec.dim)) for name, encoder in encoders.items()}
    members = {name: int(count) for name, item in encoders.items() if (count := getattr(item, "num_members", 0))}
    trunk = None
    if spec.shared_trunk:
        trunk = SharedTrunk(spec.dim, depth=spec.shared_trunk, num_heads=spec.num_heads, dropout=spec.dropout)
    tasks = {
        target.name: _writing_task(target, schema, preprocessors, spec)
        if target.kind.writes
        else TASKS[target.kind](
            target,
            spec.dim,
            names,
            dropout=spec.head_dropout,
            pooling=spec.pooling,
            auxiliary=spec.auxiliary,
            label_smoothing=spec.label_smoothing,
            members=members,
        )
        for target in schema.targets
    }
    chosen = {target.name: tasks[target.name] for target in schema.chosen}
    num_outputs = {target: int(task.num_outputs) for target, task in chosen.items()}  # type: ignore[arg-type]
    read = {name: readable_widths(name, encoders, modalities) for name in shallow_names(spec.shallow)}
    thumbnails = thumbnail_widths(encoders)
    shallow = {
        target: {
            name: build_shallow(name, widths_read, num_outputs[target], task.kind, thumbnails)  # type: ignore[arg-type]
            for name, widths_read in read.items()
            if widths_read and num_outputs[target] <= getattr(SHALLOW_HEADS[name], "most_outputs", math.inf)
        }
        for target, task in chosen.items()
        if any(read.values())
    }
    fusion = ENSEMBLE[member % len(ENSEMBLE)] if spec.fusion == ENSEMBLE_FUSION else spec.fusion
    model = MultimodalModel(
        encoders,
        Projectors(widths, {name: item.value for name, item in modalities.items()}, spec.dim),
        FUSIONS[fusion](spec.dim, names, num_heads=spec.num_heads, depth=spec.fusion_depth, dropout=spec.dropout),
        tasks,
        trunk=trunk,
        alignment=ALIGNMENTS[spec.alignment_loss](names, spec.dim) if spec.alignment and len(names) > 1 else None,
        alignment_weight=spec.alignment,
        shallow=shallow,
        modality_dropout=spec.modality_dropout,
        space=Space(names, spec.dim, spec.space) if spec.space else None,
    )
    stages: list[Iterable[nn.Module]] = [model.encoders, [] if model.trunk is None else [model.trunk], [model.fusion]]
    set_stochastic_depth(stages, spec.stochastic_depth)
    return model


def _writing_task(target: Target, schema: Schema, preprocessors: Mapping[str, Any], spec: ModelSpec) -> nn.Module:
    """A task that writes: its vocabulary stands beside the inputs' preprocessors."""
    options = WriterOptions(
        preprocessors[target.name],
        spec.num_heads,
        spec.decoder_depth,
        spec.dropout,
        spec.label_smoothing,
        sound_of(schema),
    )
    return WRITING_TASKS[target.kind](target, spec.dim, options)


def sound_of(schema: Schema) -> str:
    """The input that is transcribed: the first sound; "" where there is none."""
    return next((item.name for item in schema.inputs if item.modality is Modality.AUDIO), "")
