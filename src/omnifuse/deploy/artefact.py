"""The artefact: the folder that ships. `model.json`, `weights.safetensors`, tokenizers, weights of frozen
backbones and `CARD.md`, nothing else.

It holds no row, no medium and no path of the training data. Every file is named in `model.json` with its SHA-256, and
`model.json` carries its own, so that one flipped bit anywhere is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.deploy.weights import encode_weights, read_weights
from omnifuse.errors import ArtefactError
from omnifuse.files import make_folder, sha256_of, write_atomically

FORMAT = 1
MANIFEST = "model.json"
WEIGHTS = "weights.safetensors"
CARD = "CARD.md"
MAX_MANIFEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Artefact:
    """A model as it lies on disk.

    Attributes:
        manifest: Plain JSON: schema, specification, preprocessors, readouts, metrics, data fingerprint, versions.
        weights: Name to array.
        card: The model card, Markdown.
        model_id: First 12 hex digits of the digest over manifest and weights.
        parts: Name to content of further files, as language models and backbones; `load_artefact` checks and leaves
            them on disk.
    """

    manifest: dict[str, Any]
    weights: dict[str, np.ndarray]
    card: str = ""
    model_id: str = ""
    parts: Mapping[str, bytes] = field(default_factory=dict)


def _digest(manifest: dict[str, Any]) -> str:
    text = json.dumps({key: value for key, value in manifest.items() if key != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _split_tokenizers(preprocessors: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Move tokenizer texts out of the manifest into files of their own."""
    kept: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for number, (name, data) in enumerate(sorted(preprocessors.items())):
        kept[name] = data
        if isinstance(data, dict) and isinstance(data.get("tokenizer"), str):
            file_name = f"tokenizer_{number}.json"
            files[file_name] = data["tokenizer"].encode("utf-8")
            kept[name] = {**data, "tokenizer": {"file": file_name}}
    return kept, files


def save_artefact(folder: Path, artefact: Artefact) -> str:
    """Write a model folder; each file atomically, the manifest last.

    Args:
        folder: Made where absent; files of an older model in it are replaced.
        artefact: What to write; its `model_id` is ignored and computed anew.

    Returns:
        The model id.
    """
    make_folder(folder)
    preprocessors, files = _split_tokenizers(artefact.manifest.get("preprocessors", {}))
    files[WEIGHTS] = encode_weights(artefact.weights)
    files[CARD] = artefact.card.encode("utf-8")
    files |= artefact.parts
    manifest = {**artefact.manifest, "format": FORMAT, "preprocessors": preprocessors}
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    manifest["digest"] = _digest(manifest)
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
    for path in folder.glob("backbone_*.safetensors"):
        if path.name not in files:  # of an older model: they may be large
            path.unlink(missing_ok=True)
    return str(manifest["digest"])[:12]


def find_model_folder(folder: str | Path) -> Path:
    """Accept a run folder or the model folder in it.

    Raises:
        ArtefactError: If neither holds a model.
    """
    start = Path(folder)
    for candidate in (start, start / "model"):
        if (candidate / MANIFEST).is_file():
            return candidate
    raise ArtefactError(
        f"no model in '{folder}'",
        where=f"looked for {MANIFEST} there and in its folder model/",
        fix="Give the folder that `omnifuse fit --out` made",
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ArtefactError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES >> 20} MB", fix="It was not made by fit")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{MANIFEST} is damaged ({error})", fix="Copy the model folder again") from None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise ArtefactError(f"{MANIFEST} is not a model description", fix="Give the folder that fit made")
    if manifest["format"] != FORMAT:
        raise ArtefactError(
            f"the model has format {manifest['format']!r}, this omnifuse reads format {FORMAT}",
            fix="Install the omnifuse release that made it, or fit again",
        )
    if manifest.get("digest") != _digest(manifest):
        raise ArtefactError(f"the digest of {MANIFEST} does not match: it was changed or damaged", fix="Copy it again")
    return manifest


def _check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Every listed file must lie in the folder itself, be a plain file and have the stated digest."""
    if not isinstance(manifest.get("files"), dict) or not {WEIGHTS, CARD} <= manifest["files"].keys():
        raise ArtefactError(f"{MANIFEST} does not list the files of a model", fix="Use the folder as fit wrote it")
    for name, digest in manifest["files"].items():
        path = folder / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            raise ArtefactError(f"model file '{name}' is absent or not a plain file", fix="Copy the folder again")
        if sha256_of(path) != digest:
            raise ArtefactError(
                f"the digest of '{name}' does not match: it was changed or damaged", fix="Copy it again"
            )


def check_artefact(folder: str | Path) -> tuple[Path, str]:
    """Check a model folder, every digest included, without reading its weights into memory.

    Returns:
        The model folder and the model id.

    Raises:
        ArtefactError: As `load_artefact`.
    """
    path = find_model_folder(folder)
    manifest = _read_manifest(path)
    _check_files(path, manifest)
    return path, str(manifest["digest"])[:12]


def load_artefact(folder: str | Path) -> Artefact:
    """Read a model folder with every digest checked.

    Raises:
        ArtefactError: If it is absent, damaged, of another format, or names files outside itself.
    """
    path = find_model_folder(folder)
    manifest = _read_manifest(path)
    _check_files(path, manifest)
    if not isinstance(manifest.get("preprocessors"), dict):
        raise ArtefactError(f"{MANIFEST} describes no preprocessors", fix="Use the folder as fit wrote it")
    preprocessors = dict(manifest["preprocessors"])
    for name, data in preprocessors.items():
        if isinstance(data, dict) and isinstance(data.get("tokenizer"), dict):
            file_name = data["tokenizer"].get("file")
            if file_name not in manifest["files"]:
                raise ArtefactError(f"tokenizer file '{file_name}' is not part of the model", fix="Fit again")
            preprocessors[name] = {**data, "tokenizer": (path / file_name).read_text(encoding="utf-8")}
    manifest = {**manifest, "preprocessors": preprocessors}
    return Artefact(
        manifest, read_weights(path / WEIGHTS), (path / CARD).read_text(encoding="utf-8"), str(manifest["digest"])[:12]
    )
