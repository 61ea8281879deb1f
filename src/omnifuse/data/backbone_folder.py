"""The folder of a pretrained backbone as it was published: which architecture, which files, which preprocessing.

Only JSON is read here, and weights are only named; nothing in the folder is ever executed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnifuse.data.backbone import ARCHITECTURES, Backbone, BackboneRequest
from omnifuse.data.pretrained_audio import WaveSound, WhisperSound
from omnifuse.data.pretrained_image import Framing, PretrainedImage
from omnifuse.data.pretrained_text import PretrainedText
from omnifuse.data.pretrained_video import PretrainedVideo
from omnifuse.errors import InputError, MissingDependencyError
from omnifuse.schema import Modality

PretrainedPreprocessor = PretrainedText | PretrainedImage | WhisperSound | WaveSound | PretrainedVideo
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_MOST_JSON_BYTES = 64 * 1024 * 1024
_MOST_IDS = 512
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_BILINEAR, _BICUBIC = 2, 3
# What a step of the preprocessing is where the files do not say: resize, crop, filter, (mean, deviation)
_USUAL: dict[str, tuple[Any, Any, int, Any]] = {
    "vit": ({"height": 224, "width": 224}, None, _BILINEAR, _HALF),
    "dinov2": ({"shortest_edge": 256}, {"height": 224, "width": 224}, _BICUBIC, _IMAGENET),
    "clip-vision": ({"shortest_edge": 224}, {"height": 224, "width": 224}, _BICUBIC, _CLIP),
    "siglip-vision": ({"height": 224, "width": 224}, None, _BICUBIC, _HALF),
    "videomae": ({"shortest_edge": 224}, {"height": 224, "width": 224}, _BILINEAR, _IMAGENET),
}
# Steps that are not reproduced
_UNKNOWN_STEPS = ("do_pad", "do_thumbnail", "do_align_long_axis", "do_flip_channel_order", "do_reduce_labels")


@dataclass(frozen=True)
class BackboneFolder:
    """A folder whose backbone may be built.

    Attributes:
        path: Where it lies.
        label: What it is called in messages and in the model.
        architecture: Name in `ARCHITECTURES`.
        config: Content of config.json.
    """

    path: Path
    label: str
    architecture: str
    config: dict[str, Any]


def find_folder(request: BackboneRequest, *, allow_download: bool = False) -> Path:
    """The folder of a request: itself a folder, or in the store of downloads of `huggingface_hub`.

    Args:
        request: A folder or the name of a repository.
        allow_download: Whether what is not there may be fetched from the hub; only safe files are.

    Raises:
        InputError: It is neither a folder nor in the store, and may not be (or cannot be) fetched.
        MissingDependencyError: The package that knows the store is not installed.
    """
    path = Path(request.source).expanduser()
    if path.is_dir():
        if request.revision is not None:
            raise InputError(
                f"'{request.source}' is a folder and has no revision", fix=f"Leave @{request.revision} out"
            )
        return path
    if path.is_absolute() or request.source.startswith((".", "~")) or request.source.count("/") > 1:
        raise InputError(f"there is no folder '{request.source}'", fix="Give the folder that holds config.json")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingDependencyError(
            "backbones by name need huggingface_hub, which is not installed", fix='Type: pip install "omnifuse[hf]"'
        ) from None
    try:
        found = snapshot_download(
            request.source,
            revision=request.revision,
            local_files_only=not allow_download,
            allow_patterns=["*.json", "*.safetensors"],
            ignore_patterns=["*/*", *PICKLES],
        )
    except Exception as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        where = "nothing is fetched from the network without leave" if not allow_download else reason[0][:200]
        fix = "Give a folder, or fetch it once with --allow-download"
        raise InputError(
            f"the backbone '{request.label}' is not on this machine"
            if not allow_download
            else f"the backbone '{request.label}' cannot be fetched",
            where=where,
            fix=fix if not allow_download else "Check the name, the revision and the network",
        ) from None
    return Path(found)


def open_folder(path: Path, label: str, modality: Modality) -> BackboneFolder:
    """Read config.json and choose the architecture.

    Raises:
        InputError: The folder holds no backbone of the closed list for that modality, asks for code of its own, or
            has weights only in a form that can run code.
    """
    config = _json(path / "config.json", label)
    if "auto_map" in config:
        raise InputError(
            f"the backbone '{label}' brings code of its own (auto_map in config.json), which is never run",
            fix="Choose one whose architecture is in `omnifuse list`",
        )
    model_type = str(config.get("model_type", ""))
    fitting = {name: item for name, item in ARCHITECTURES.items() if item.modality is modality}
    name = next((name for name, item in fitting.items() if model_type in item.model_types), None)
    if name is None:
        reads = [item.modality.value for item in ARCHITECTURES.values() if model_type in item.model_types]
        why = f"it reads {' or '.join(reads)}" if reads else f"its model_type is '{model_type}'"
        raise InputError(
            f"the backbone '{label}' cannot read {modality}",
            where=why,
            fix=f"Known for {modality}: {', '.join(fitting)}",
        )
    if not any((path / file).is_file() for file in SAFE_WEIGHTS):
        pickled = sorted(item.name for pattern in PICKLES for item in path.glob(pattern))
        raise InputError(
            f"the backbone '{label}' has its weights only as {', '.join(pickled[:3])}, which can run code when opened"
            if pickled
            else f"the backbone '{label}' has no weights (model.safetensors)",
            fix="Save it with save_pretrained of a current transformers, which writes safetensors",
        )
    return BackboneFolder(path, label, name, config)


def preprocessor_of(
    folder: BackboneFolder, backbone: Backbone, *, max_length: int = _MOST_IDS
) -> PretrainedPreprocessor:
    """What turns raw cells into what the backbone reads, as its files say.

    Args:
        folder: Where the files lie.
        backbone: What was read from it.
        max_length: Longest text in ids, where the backbone does not read less.

    Raises:
        InputError: A file is absent or asks for a step that is not reproduced.
    """
    modality = ARCHITECTURES[folder.architecture].modality
    try:
        if modality is Modality.TEXT:
            return _text(folder, backbone, max_length)
        if modality is Modality.IMAGE:
            return PretrainedImage(backbone, _framing(folder, backbone))
        if modality is Modality.VIDEO:
            return PretrainedVideo(backbone, _framing(folder, backbone), int(backbone.config.get("num_frames", 16)))
        return _sound(folder, backbone)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the preprocessing of the backbone '{folder.label}' cannot be read",
            where=f"{type(error).__name__}: {error}",
            fix="Save it again with the library it was made with",
        ) from None


def _json(path: Path, label: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"the backbone '{label}' has no {path.name}", fix="Give the folder that save_pretrained wrote")
    if path.stat().st_size > _MOST_JSON_BYTES:
        raise InputError(f"{path.name} of the backbone '{label}' is larger than {_MOST_JSON_BYTES >> 20} MB")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{path.name} of the backbone '{label}' is damaged ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path.name} of the backbone '{label}' is no description")
    return found


def _optional(folder: BackboneFolder, name: str) -> dict[str, Any]:
    path = folder.path / name
    return _json(path, folder.label) if path.is_file() else {}


def _text(folder: BackboneFolder, backbone: Backbone, max_length: int) -> PretrainedText:
    path = folder.path / "tokenizer.json"
    if not path.is_file() or path.stat().st_size > _MOST_JSON_BYTES:
        raise InputError(
            f"the backbone '{folder.label}' has no tokenizer.json",
            fix="Save its tokenizer with save_pretrained of a current transformers",
        )
    settings = _optional(folder, "tokenizer_config.json")
    limits = [max_length, int(backbone.config.get("max_position_embeddings", _MOST_IDS))]
    said = settings.get("model_max_length")
    if isinstance(said, int | float) and 3 <= said <= 100_000:
        limits.append(int(said))
    longest = _optional(folder, "sentence_bert_config.json").get("max_seq_length")
    if isinstance(longest, int) and longest >= 3:
        limits.append(longest)
    # SigLIP was taught on texts that are filled up to their full length, without a mask
    full = int(backbone.config["max_position_embeddings"]) if folder.architecture == "siglip-text" else 0
    length = full or min(limits)
    tokenizer = path.read_text(encoding="utf-8")
    return PretrainedText(backbone, tokenizer, length, full, _pad_id(tokenizer, settings, backbone) if full else 0)


def _pad_id(tokenizer: str, settings: dict[str, Any], backbone: Backbone) -> int:
    """The id that pads: what the tokenizer calls so, else what the configuration says."""
    token = settings.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    for item in json.loads(tokenizer).get("added_tokens", ()):
        if item.get("content") == token:
            return int(item["id"])
    return int(backbone.config.get("pad_token_id") or 0)


def _processing(folder: BackboneFolder, part: str) -> dict[str, Any]:
    """preprocessor_config.json, or its part of a newer processor_config.json."""
    found = _optional(folder, "preprocessor_config.json")
    found = found or dict(_optional(folder, "processor_config.json").get(part, {}))
    if not found:
        raise InputError(
            f"the backbone '{folder.label}' has no preprocessor_config.json",
            fix="Save its processor beside it with save_pretrained",
        )
    return found


def _sides(size: Any, *, square: bool) -> tuple[int, ...]:
    """A size as the library writes it: a number, a pair, or a table with names."""
    if isinstance(size, int):
        return (size, size) if square else (size,)
    if isinstance(size, list | tuple):
        return tuple(int(side) for side in size)
    if {"height", "width"} <= size.keys():
        return int(size["height"]), int(size["width"])
    if set(size) == {"shortest_edge"}:
        return (int(size["shortest_edge"]),)
    raise ValueError(f"size {size}")


def _framing(folder: BackboneFolder, backbone: Backbone) -> Framing:
    found = _processing(folder, "video_processor" if folder.architecture == "videomae" else "image_processor")
    steps = [name for name in _UNKNOWN_STEPS if found.get(name)]
    if steps:
        raise InputError(
            f"the preprocessing of the backbone '{folder.label}' has the step {steps[0]}, which is not reproduced",
            fix="Choose another backbone",
        )
    size, crop, usual, (mean, std) = _USUAL[folder.architecture]
    size, crop = found.get("size", size), found.get("crop_size", crop)
    resize = (
        () if found.get("do_resize") is False else _sides(size, square=folder.architecture in ("vit", "siglip-vision"))
    )
    cuts = found.get("do_center_crop", folder.architecture in ("dinov2", "clip-vision", "videomae"))
    if found.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    else:
        mean, std = found.get("image_mean", mean), found.get("image_std", std)
    factor = 1.0 if found.get("do_rescale") is False else float(found.get("rescale_factor", 1 / 255))
    framing = Framing(
        resize,
        _sides(crop, square=True) if cuts and crop else (),
        int(found.get("resample", usual)),
        factor,
        (float(mean[0]), float(mean[1]), float(mean[2])),
        (float(std[0]), float(std[1]), float(std[2])),
    )
    side = backbone.config.get("image_size")
    wanted = tuple(side) if isinstance(side, list | tuple) else (side, side)
    # Positions of DINOv2 are stretched to any size; the others have those of one
    if folder.architecture != "dinov2" and side and framing.size != wanted:
        raise InputError(
            f"the backbone '{folder.label}' sees {wanted[0]} x {wanted[1]} pixels, and its preprocessing gives "
            f"{framing.size[0]} x {framing.size[1]}",
            fix="Mend size and crop_size in its preprocessor_config.json",
        )
    return framing


def _sound(folder: BackboneFolder, backbone: Backbone) -> PretrainedPreprocessor:
    found = _processing(folder, "feature_extractor")
    rate = int(found.get("sampling_rate", 16_000))
    if folder.architecture == "wav2vec2":
        return WaveSound(backbone, rate, bool(found.get("do_normalize", True)))
    if found.get("dither") or found.get("do_normalize"):
        raise InputError(f"the preprocessing of the backbone '{folder.label}' has a step that is not reproduced")
    sound = WhisperSound(
        backbone,
        int(found.get("feature_size", 80)),
        rate,
        int(found.get("hop_length", 160)),
        int(found.get("n_fft", 400)),
        float(found.get("chunk_length", 30)),
    )
    frames = 2 * int(backbone.config.get("max_source_positions", 1500))
    if sound.num_samples // sound.hop != frames or sound.num_mels != backbone.config.get("num_mel_bins"):
        raise InputError(
            f"the backbone '{folder.label}' hears {frames} frames of {backbone.config.get('num_mel_bins')} bands, and "
            f"its preprocessing gives {sound.num_samples // sound.hop} of {sound.num_mels}",
            fix="Mend its preprocessor_config.json",
        )
    return sound
