"""The closed list of pretrained backbones as modules: loading, weights by their digest, and features.

Shapes: P present rows, L ids, N media or chunks or frames of all rows in order, T tokens of one of them, D width.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omnifuse.data.backbone import Backbone
from omnifuse.data.backbone_folder import BackboneFolder
from omnifuse.errors import ArtefactError, InputError, MissingDependencyError

# Architecture to (configuration class, model class) of the library, and the attribute of the model that is kept
_CLASSES: dict[str, tuple[str, str, str]] = {
    "bert": ("BertConfig", "BertModel", ""),
    "modernbert": ("ModernBertConfig", "ModernBertModel", ""),
    "clip-text": ("CLIPTextConfig", "CLIPTextModel", ""),
    "siglip-text": ("SiglipTextConfig", "SiglipTextModel", ""),
    "vit": ("ViTConfig", "ViTModel", ""),
    "dinov2": ("Dinov2Config", "Dinov2Model", ""),
    "clip-vision": ("CLIPVisionConfig", "CLIPVisionModel", ""),
    "siglip-vision": ("SiglipVisionConfig", "SiglipVisionModel", ""),
    "whisper": ("WhisperConfig", "WhisperModel", "encoder"),
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model", ""),
    "videomae": ("VideoMAEConfig", "VideoMAEModel", ""),
}
# Models whose pooling head is not asked for, so that checkpoints need not have one
_WITHOUT_POOLER = ("bert", "vit")
# Of a configuration, what says where it came from and not what it is
_UNSAID = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "auto_map")
# Only these may be absent from a checkpoint: they are made anew and not asked
_MAY_LACK = ("pooler", "masked_spec_embed", "decoder.")


def need_transformers() -> Any:
    """The library, quietly.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise MissingDependencyError(
            "pretrained backbones need transformers, which is not installed", fix='Type: pip install "omnifuse[hf]"'
        ) from None
    return transformers


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's talk of unused weights and progress bars."""
    logger = logging.getLogger("transformers")
    level, disabled = logger.level, logger.disabled
    from transformers.utils import logging as theirs

    bars = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        logger.disabled = disabled
        if bars:
            theirs.enable_progress_bar()


@dataclass(eq=False)
class Held:
    """A module that is no part of a network's state: its weights are shared and kept beside it, by their digest.

    Attributes:
        module: In evaluation mode, without gradients.
        last: The batch that was read last, and what it gave, for the other members of an ensemble.
    """

    module: nn.Module
    lock: threading.Lock = field(default_factory=threading.Lock)
    last: tuple[Any, Tensor] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Held:
        """The same: nobody changes it."""
        return self

    def once(self, batch: Any, work: Callable[[], Tensor]) -> Tensor:
        """What `work` gives for a batch, worked out once however many ask."""
        if torch.compiler.is_exporting():
            return work()
        with self.lock:
            if self.last is not None and self.last[0]() is batch:
                return self.last[1]
            found = work()
            self.last = weakref.ref(batch), found
            return found


# Digest to the file of the weights, and to the module while a network holds it
_PLACES: dict[str, Path] = {}
_HELD: weakref.WeakValueDictionary[str, Held] = weakref.WeakValueDictionary()
_LOADING = threading.Lock()


def remember_place(weights: str, path: Path) -> None:
    """Say where weights lie: a safetensors file as `weights_of` gives it, in a model folder."""
    _PLACES[weights] = path


def digest_of(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    """Name to array."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def read_backbone(folder: BackboneFolder, tuning: str) -> tuple[Backbone, Held]:
    """Load the weights of a published folder; only safetensors are opened, and no code of the folder is run.

    Raises:
        InputError: They cannot be read, or do not fit the architecture.
        MissingDependencyError: transformers is not installed.
    """
    library = need_transformers()
    _, name, part = _CLASSES[folder.architecture]
    options = {"add_pooling_layer": False} if folder.architecture in _WITHOUT_POOLER else {}
    try:
        with _quietly():
            model, found = getattr(library, name).from_pretrained(
                str(folder.path),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise InputError(
            f"the backbone '{folder.label}' cannot be loaded",
            where=f"{type(error).__name__}: {lines[0][:200]}",
            fix="Get its files again, and look whether this release of transformers knows them",
        ) from None
    absent = sorted(key for key in found["missing_keys"] if not any(word in key for word in _MAY_LACK))
    if absent:
        raise InputError(
            f"the weights of the backbone '{folder.label}' lack {len(absent)} of its parts",
            where=f"absent: {', '.join(absent[:3])}",
            fix="Get its files again: it would begin with random numbers there",
        )
    config = _plain_config(model.config)
    module = _prepared(getattr(model, part) if part else model)
    weights = digest_of(module)
    held = _HELD.get(weights) or Held(module)
    _HELD[weights] = held
    return Backbone(folder.architecture, config, weights, int(model.config.hidden_size), folder.label, tuning), held


def _plain_config(config: Any) -> dict[str, Any]:
    """What makes a configuration, as JSON."""
    text = json.dumps({key: value for key, value in config.to_dict().items() if key not in _UNSAID}, default=str)
    found: dict[str, Any] = json.loads(text)
    return found


def _prepared(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def build_module(backbone: Backbone) -> nn.Module:
    """The architecture with weights that mean nothing yet.

    Raises:
        ArtefactError: The library cannot build what is described.
    """
    library = need_transformers()
    config_name, name, part = _CLASSES[backbone.architecture]
    options = {"add_pooling_layer": False} if backbone.architecture in _WITHOUT_POOLER else {}
    try:
        with _quietly():
            model = getattr(library, name)(getattr(library, config_name)(**backbone.config), **options)
    except Exception as error:
        raise ArtefactError(
            f"the backbone '{backbone.label}' cannot be built from its description",
            where=f"{type(error).__name__}: {str(error)[:200]}",
            fix="Install the release of transformers that the model was made with",
        ) from None
    return _prepared(getattr(model, part) if part else model)


def held_backbone(backbone: Backbone) -> Held | None:
    """The module with the weights it began with; None where nobody has said where they lie.

    Raises:
        ArtefactError: What lies there are other weights.
    """
    with _LOADING:
        held = _HELD.get(backbone.weights)
        if held is not None:
            return held
        path = _PLACES.get(backbone.weights)
        if path is None:
            return None
        from safetensors.torch import load_file

        module = build_module(backbone)
        try:
            module.load_state_dict(load_file(path))
        except Exception as error:
            raise ArtefactError(
                f"the weights of the backbone '{backbone.label}' do not fit its description",
                where=f"{path.name}: {str(error).strip().splitlines()[0][:200]}",
                fix="Install the release of transformers that the model was made with",
            ) from None
        if digest_of(module) != backbone.weights:
            raise ArtefactError(f"'{path.name}' holds other weights than its name says", fix="Copy the folder again")
        held = Held(module)
        _HELD[backbone.weights] = held
        return held


def with_shared_weights(module: nn.Module) -> nn.Module:
    """A module of its own whose parameters and buffers are the very ones of another."""
    memo: dict[int, Any] = {id(item): item for item in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo)


Features = Callable[[nn.Module, Mapping[str, Tensor], Tensor | None], Tensor]


def text_features(module: nn.Module, ids: Tensor, mask: Tensor | None) -> Tensor:
    """(P, L) to (P, L, D); a mask of None says that nothing is padded."""
    given = {} if mask is None else {"attention_mask": mask.long()}
    found: Tensor = module(input_ids=ids.long(), **given).last_hidden_state
    return found


class PatchPooling(nn.Module):
    """Patches of a square or oblong grid to at most `side` x `side` means.

    Shape: (N, rows x columns, D) to (N, T, D).
    """

    weights: Tensor

    def __init__(self, rows: int, columns: int, side: int) -> None:
        super().__init__()
        maps = torch.eye(rows * columns).view(rows * columns, 1, rows, columns)
        pooled = nn.functional.adaptive_avg_pool2d(maps, (min(rows, side), min(columns, side)))
        # As one product: exporters know no pooling whose windows differ
        self.register_buffer("weights", pooled.flatten(1).T.contiguous(), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Mean of the patches of each window."""
        return self.weights.to(patches.dtype) @ patches
