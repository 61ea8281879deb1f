"""What is known of a pretrained backbone without its weights: architecture, sizes, and who it is.

A preprocessor that belongs to a backbone carries this, so that a model folder says what must be built and which weights
go into it; the weights lie beside it under the name that `weights_file` gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omnifuse.errors import ArtefactError, InputError, did_you_mean
from omnifuse.schema import Modality

PREFIX = "hf:"
FROZEN, LORA, FULL = "frozen", "lora", "full"
TUNINGS = (FROZEN, LORA, FULL)
_DIGEST = re.compile("[0-9a-f]{64}")
_WEIGHTS_FILE = re.compile("backbone_([0-9a-f]{64})[.]safetensors")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._@/-]+")


@dataclass(frozen=True)
class Architecture:
    """One kind of backbone.

    Attributes:
        modality: What it reads.
        model_types: `model_type` of the config.json files it stands in, with the part of the file that describes it
            ("" for the whole).
        words: For the list of parts.
    """

    modality: Modality
    model_types: Mapping[str, str]
    words: str


# The closed list: nothing else is ever built
ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(Modality.TEXT, {"bert": ""}, "BERT, MiniLM and sentence encoders of that form"),
    "modernbert": Architecture(Modality.TEXT, {"modernbert": ""}, "ModernBERT"),
    "clip-text": Architecture(Modality.TEXT, {"clip": "text_config", "clip_text_model": ""}, "text tower of CLIP"),
    "siglip-text": Architecture(
        Modality.TEXT, {"siglip": "text_config", "siglip_text_model": ""}, "text tower of SigLIP"
    ),
    "vit": Architecture(Modality.IMAGE, {"vit": ""}, "vision transformer (ViT)"),
    "dinov2": Architecture(Modality.IMAGE, {"dinov2": ""}, "DINOv2"),
    "clip-vision": Architecture(
        Modality.IMAGE, {"clip": "vision_config", "clip_vision_model": ""}, "vision tower of CLIP"
    ),
    "siglip-vision": Architecture(
        Modality.IMAGE, {"siglip": "vision_config", "siglip_vision_model": ""}, "vision tower of SigLIP"
    ),
    "whisper": Architecture(Modality.AUDIO, {"whisper": ""}, "encoder of Whisper"),
    "wav2vec2": Architecture(Modality.AUDIO, {"wav2vec2": ""}, "wav2vec 2.0"),
    "videomae": Architecture(Modality.VIDEO, {"videomae": ""}, "VideoMAE"),
}


@dataclass(frozen=True)
class Backbone:
    """A backbone without its weights.

    Attributes:
        architecture: Name in `ARCHITECTURES`.
        config: Its sizes, as the library's configuration class takes them.
        weights: SHA-256 over names, types, shapes and bytes of the weights it began with.
        width: D of its tokens.
        label: What the user called it, without any folder above it.
        tuning: "frozen", "lora" or "full".
    """

    architecture: str
    config: Mapping[str, Any]
    weights: str
    width: int
    label: str
    tuning: str = FROZEN

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ArtefactError(
                f"There is no backbone architecture '{self.architecture}'",
                fix=did_you_mean(self.architecture, ARCHITECTURES),
            )
        if self.tuning not in TUNINGS:
            raise ArtefactError(f"A backbone cannot be '{self.tuning}'", fix=did_you_mean(self.tuning, TUNINGS))
        if not _DIGEST.fullmatch(self.weights):
            raise ArtefactError("The weights of a backbone are not named by a SHA-256")

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of it is learnt, so that its features can be kept."""
        return self.tuning == FROZEN

    @property
    def keeps_weights(self) -> bool:
        """Whether the weights it began with are a part of the model: learnt anew as a whole, they are not."""
        return self.tuning != FULL

    @property
    def name(self) -> str:
        """What stands in the specification of a model: no path, and no place it was taken from."""
        return f"{PREFIX}{self.label}:{self.tuning}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "architecture": self.architecture,
            "config": dict(self.config),
            "weights": self.weights,
            "width": self.width,
            "label": self.label,
            "tuning": self.tuning,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Backbone:
        """Inverse of `to_json`."""
        width = int(data["width"])
        if not 1 <= width <= 65_536:
            raise ArtefactError(f"The width of a backbone is {width}")
        return cls(
            str(data["architecture"]),
            dict(data["config"]),
            str(data["weights"]),
            width,
            str(data["label"]),
            str(data["tuning"]),
        )


@dataclass(frozen=True)
class BackboneRequest:
    """What `hf:NAME_OR_FOLDER[@REVISION][:frozen|lora|full]` says."""

    source: str
    revision: str | None
    tuning: str

    @property
    def label(self) -> str:
        """The last part of a folder's name or the name of a repository, safe to print and to store."""
        return safe_label(self.source, self.revision)


def safe_label(source: str, revision: str | None) -> str:
    """Two parts of a name at most, without what no name holds."""
    parts = [part for part in source.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    # A repository is "owner/name"; of a folder the last part alone
    kept = "/".join(parts) if len(parts) == 2 and source == "/".join(parts) else (parts or ["backbone"])[-1]
    label = _UNNAMEABLE.sub("_", kept)[:120]
    return f"{label}@{_UNNAMEABLE.sub('_', revision)[:40]}" if revision else label


def is_backbone(encoder: str) -> bool:
    """Whether the name of an encoder asks for a pretrained backbone."""
    return encoder.startswith(PREFIX)


def parse_request(encoder: str) -> BackboneRequest:
    """Read the name of an encoder that begins with `hf:`.

    Raises:
        InputError: It names nothing.

    Example:
        >>> parse_request("hf:owner/name@v1:lora")
        BackboneRequest(source='owner/name', revision='v1', tuning='lora')
    """
    text, tuning = encoder.removeprefix(PREFIX), FROZEN
    head, colon, last = text.rpartition(":")
    if colon and last in TUNINGS:
        text, tuning = head, last
    source, at, revision = text.rpartition("@")
    if not at or "/" in revision:
        source, revision = text, ""
    if not source or (at and not revision and text.endswith("@")):
        raise InputError(
            f"the encoder '{encoder}' names no backbone", fix="Write hf:NAME_OR_FOLDER, for example hf:./clip:lora"
        )
    return BackboneRequest(source, revision or None, tuning)


def weights_file(weights: str) -> str:
    """Name of the file of a backbone's weights in a model folder."""
    return f"backbone_{weights}.safetensors"


def weights_of_file(name: str) -> str | None:
    """Inverse of `weights_file`; None for any other name."""
    found = _WEIGHTS_FILE.fullmatch(name)
    return found[1] if found else None
