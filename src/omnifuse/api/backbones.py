"""Pretrained backbones of a fit: found by name, opened, and, where they are frozen, asked once for each row."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.options import Listener
from omnifuse.data.backbone import Backbone, is_backbone, parse_request, weights_file, weights_of_file
from omnifuse.data.backbone_folder import find_folder, open_folder, preprocessor_of
from omnifuse.data.feature_cache import DEFAULT_BYTES, FeatureCache
from omnifuse.data.pack import Pack
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Modality, Schema, TaskKind

if TYPE_CHECKING:
    from omnifuse.encoders.backbones import Held
    from omnifuse.model import MultimodalModel
    from omnifuse.presets import Preset

# Rows that a backbone reads at once
AT_ONCE = 16
DTYPE = "<f4"
# Where features are kept instead of in the run folder, so that several runs share them; and how many gigabytes
FOLDER_VARIABLE, SIZE_VARIABLE = "OMNIFUSE_FEATURE_CACHE", "OMNIFUSE_FEATURE_CACHE_GB"


@dataclass(frozen=True)
class OpenedBackbones:
    """What `--encoder FIELD=hf:...` named.

    Attributes:
        preprocessors: Input to what turns its cells into what its backbone reads.
        held: The modules, so that they stay in memory until networks hold them.
    """

    preprocessors: Mapping[str, Any]
    held: tuple[Held, ...] = ()


def open_backbones(
    preset: Preset, schema: Schema, settings: Mapping[str, str], *, allow_download: bool, listen: Listener
) -> tuple[Preset, OpenedBackbones]:
    """Open every backbone that an encoder's name asks for.

    Args:
        preset: With the encoders' names.
        schema: Of the table.
        settings: Those that the user named; `max_tokens` bounds texts.
        allow_download: Whether the hub may be asked.
        listen: Hears what is opened.

    Returns:
        The preset with names that hold no path, and what was opened.

    Raises:
        InputError: A name, a folder or its content is wrong.
        MissingDependencyError: The packages are not installed.
    """
    encoders, preprocessors, held = dict(preset.model.encoders), {}, []
    inputs = {item.name: item for item in schema.inputs}
    for name, encoder in encoders.items():
        if not is_backbone(encoder):
            continue
        if name not in inputs:
            raise InputError(f"--encoder names '{name}', which is no input", fix=did_you_mean(name, inputs))
        from omnifuse.encoders.backbones import need_transformers, read_backbone

        request = parse_request(encoder)
        transcribes = any(item.kind is TaskKind.TRANSCRIPTION for item in schema.targets)
        if transcribes and inputs[name].modality is Modality.AUDIO:
            raise InputError(
                f"the sound '{name}' is transcribed, for which a token of a pretrained backbone lasts too long",
                fix=f"Leave --encoder {name} out",
            )
        need_transformers()
        path = find_folder(request, allow_download=allow_download)
        folder = open_folder(path, request.label, inputs[name].modality)
        backbone, module = read_backbone(folder, request.tuning)
        length = int(settings["max_tokens"]) if "max_tokens" in settings else 512
        preprocessors[name] = preprocessor_of(folder, backbone, max_length=length)
        encoders[name] = backbone.name
        held.append(module)
        listen("note", {"text": f"'{name}' is read by {backbone.label} ({backbone.architecture}), {backbone.tuning}."})
    if not preprocessors:
        return preset, OpenedBackbones({})
    return replace(preset, model=replace(preset.model, encoders=encoders)), OpenedBackbones(preprocessors, tuple(held))


def feature_cache(out: Path) -> FeatureCache:
    """The cache of a run: in its folder, or where the environment says.

    Raises:
        InputError: The size in the environment is no number.
    """
    size = os.environ.get(SIZE_VARIABLE)
    try:
        most = DEFAULT_BYTES if size is None else int(float(size) * 1024**3)
    except (ValueError, OverflowError):
        raise InputError(f"{SIZE_VARIABLE} is '{size}'", fix="Give a number of gigabytes") from None
    return FeatureCache(Path(os.environ.get(FOLDER_VARIABLE) or out / "cache" / "features"), most)


def with_features(
    packs: Mapping[str, Pack],
    preprocessors: Mapping[str, Any],
    *,
    cache: FeatureCache | None,
    listen: Listener,
) -> dict[str, Pack]:
    """The packs with what frozen backbones make of their rows, from the cache as far as it is known.

    Args:
        packs: Input to decoded arrays of all rows.
        preprocessors: Input to its preprocessor.
        cache: Of features, or None for none.
        listen: Hears what is computed.
    """
    found = dict(packs)
    for name, pack in packs.items():
        backbone = getattr(preprocessors[name], "backbone", None)
        if isinstance(backbone, Backbone) and backbone.is_frozen and pack.present.any():
            found[name] = _featured(name, pack, preprocessors[name], cache, listen)
    return found


def _featured(name: str, pack: Pack, preprocessor: Any, cache: FeatureCache | None, listen: Listener) -> Pack:
    rows = np.flatnonzero(pack.present)
    stem = FeatureCache.stem(preprocessor.to_json(), DTYPE)
    keys = {int(row): FeatureCache.key(stem, pack.row(int(row))) for row in rows}
    features: np.ndarray | None = None
    waiting: dict[str, list[int]] = {}

    def place(row: int, values: np.ndarray) -> None:
        nonlocal features
        if features is None:
            features = np.zeros((int(pack.offsets[-1]), *values.shape[1:]), np.float32)
        features[pack.offsets[row] : pack.offsets[row + 1]] = values

    for row, key in keys.items():
        known = None if key in waiting or cache is None else cache.get(key)
        if known is not None and len(known) == pack.lengths[row]:
            place(row, known)
        else:
            waiting.setdefault(key, []).append(row)
    if waiting:
        label = preprocessor.backbone.label
        listen("stage", {"text": f"reading {len(waiting)} cells of '{name}' with {label}, once for all passes"})
        for key, values in _computed(name, pack, preprocessor, waiting):
            for row in waiting[key]:
                place(row, values)
            if cache is not None:
                cache.put(key, values)
    assert features is not None
    return replace(pack, features=features)


def _computed(name: str, pack: Pack, preprocessor: Any, waiting: Mapping[str, list[int]]) -> Any:
    """Key and features of one row of each key, rows of like length together."""
    import torch

    from omnifuse.encoders.pretrained import PretrainedEncoder
    from omnifuse.training.batches import make_batch
    from omnifuse.training.memory import RowsAtOnce

    encoder = PretrainedEncoder(preprocessor.backbone, preprocessor).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device)
    keys = sorted(waiting, key=lambda key: int(pack.lengths[waiting[key][0]]))
    at_once = RowsAtOnce(AT_ONCE)

    def work(some: list[str]) -> list[np.ndarray]:
        def read(count: int) -> list[np.ndarray]:
            found: list[np.ndarray] = []
            for start in range(0, len(some), count):
                chosen = np.array([waiting[key][0] for key in some[start : start + count]])
                batch = make_batch({name: pack.bare}, chosen).fields[name].to(device)
                values = encoder.features(batch).float().cpu().numpy()
                found += np.split(values, np.cumsum(pack.lengths[chosen])[:-1])
            return found

        return at_once.run(len(some), read)

    with torch.inference_mode():
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            yield from zip(some, work(some), strict=True)
    encoder.to("cpu")


def backbone_files(members: list[MultimodalModel]) -> dict[str, bytes]:
    """File name to content of the weights that networks share and their state does not hold."""
    from omnifuse.deploy.weights import encode_weights
    from omnifuse.encoders.backbones import held_backbone, weights_of
    from omnifuse.encoders.pretrained import PretrainedEncoder

    found: dict[str, bytes] = {}
    for member in members:
        for encoder in member.encoders:
            if isinstance(encoder, PretrainedEncoder) and encoder.backbone.keeps_weights:
                name = weights_file(encoder.backbone.weights)
                held = held_backbone(encoder.backbone)
                assert held is not None, "a network holds it"
                if name not in found:
                    found[name] = encode_weights(weights_of(held.module))
    return found


def remember_backbones(folder: Path, files: Mapping[str, str]) -> None:
    """Say where the weights that a model folder keeps lie, before its networks are built."""
    for name in files:
        weights = weights_of_file(name)
        if weights is not None:
            from omnifuse.encoders.backbones import remember_place

            remember_place(weights, folder / name)
