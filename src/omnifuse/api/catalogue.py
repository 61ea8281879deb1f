"""Every part that can be named on the command line, with its first sentence."""

from __future__ import annotations

from typing import Any

from omnifuse.data.backbone import ARCHITECTURES
from omnifuse.encoders.registry import ENCODERS, installed_encoders
from omnifuse.fusion import FUSIONS
from omnifuse.layers import POOLINGS
from omnifuse.presets import ENSEMBLE, ENSEMBLE_FUSION, PRESETS
from omnifuse.tasks import TASKS, WRITING_TASKS


def _words(part: Any) -> str:
    return (part.__doc__ or "").strip().split("\n")[0]


def catalogue() -> dict[str, dict[str, str]]:
    """Kind of part to name to description."""
    encoders = {**ENCODERS, **installed_encoders()}
    presets = {
        name: f"width {item.model.dim}, {item.model.encoder_depth} encoder blocks, pictures to {item.largest_image} px"
        for name, item in PRESETS.items()
    }
    return {
        "Encoders": {name: f"{item.modality.value}: {item.words}" for name, item in encoders.items()},
        "Backbones by --encoder FIELD=hf:NAME_OR_FOLDER[@REVISION][:frozen|lora|full]": {
            name: f"{item.modality.value}: {item.words}" for name, item in ARCHITECTURES.items()
        },
        "Fusions": {name: _words(item) for name, item in FUSIONS.items()}
        | {ENSEMBLE_FUSION: f"members with {', '.join(ENSEMBLE)} in turn"},
        "Tasks": {kind.value: _words(item) for kind, item in {**TASKS, **WRITING_TASKS}.items()},
        "Poolings": {name: _words(item) for name, item in POOLINGS.items()},
        "Presets": {"auto": "chosen by the number of rows and the modalities", **presets},
    }
