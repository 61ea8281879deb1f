"""Between a `Model` and the folder it lies in."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse import __version__
from omnifuse.api.options import need_training
from omnifuse.deploy.artefact import Artefact, find_model_folder, load_artefact, save_artefact
from omnifuse.deploy.description import described, reading_manifest
from omnifuse.errors import ArtefactError
from omnifuse.readout.arpa import arpa_bytes, read_arpa
from omnifuse.readout.speech import SpeechLanguage

if TYPE_CHECKING:
    from omnifuse.api.model import Model
    from omnifuse.presets import ModelSpec


def save_model(model: Model, folder: Path) -> Path:
    """Write the artefact and give the model its id."""
    from omnifuse.api.backbones import backbone_files
    from omnifuse.data.preprocessors import preprocessors_to_json

    manifest = {
        **model.manifest,
        "code_version": __version__,
        "python": platform.python_version(),
        "schema": model.schema.to_json(),
        "preprocessors": preprocessors_to_json(model.preprocessors),
        "readouts": {name: readout.to_json() for name, readout in model.readouts.items()},
    }
    weights = {name: value.detach().cpu().numpy() for name, value in model.network.state_dict().items()}
    card = model_card(manifest)
    parts = {f"language_{number}.arpa": arpa_bytes(item.model) for number, item in enumerate(model.language.values())}
    manifest["language"] = {
        name: {"file": file, "units": item.units, "longest_s": item.longest_s}
        for (name, item), file in zip(model.language.items(), parts, strict=True)
    }
    model.model_id = save_artefact(
        folder, Artefact(manifest, weights, card, parts=parts | backbone_files(model.members))
    )
    return folder


def load_model(folder: str | Path) -> Model:
    """Load a trained model; every file's digest is checked and nothing in the folder is executed.

    Args:
        folder: A run folder or the model folder in it.

    Raises:
        ArtefactError: If the folder is absent, damaged, or of another format or architecture.
        MissingDependencyError: If torch is not installed.
    """
    need_training()
    import torch

    from omnifuse.api.backbones import remember_backbones
    from omnifuse.api.model import Model
    from omnifuse.building import build_from_spec
    from omnifuse.model import Ensemble

    artefact = load_artefact(folder)
    manifest = artefact.manifest
    if "compressed" in manifest:
        raise ArtefactError(
            f"the model in '{folder}' was compressed: it holds graphs and no weights for PyTorch",
            fix="Ask it with omnifuse edge, omnifuse serve --graphs or Runtime, or load the model that it was made of",
        )
    found, spec = described(manifest), spec_of(manifest)
    remember_backbones(find_model_folder(folder), manifest["files"])
    with reading_manifest():
        network = Ensemble(
            [build_from_spec(found.schema, found.preprocessors, spec, member=n) for n in range(found.num_members)]
        )
    _check_keys(network.state_dict(), artefact.weights)
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in artefact.weights.items()})
    return Model(
        network,
        schema=found.schema,
        preprocessors=found.preprocessors,
        readouts=found.readouts,
        manifest=manifest,
        model_id=artefact.model_id,
        folder=Path(folder),
        language=load_language(find_model_folder(folder), manifest),
    )


def load_language(folder: Path, manifest: dict[str, Any]) -> dict[str, SpeechLanguage]:
    """Target that is transcribed to the language model of its transcripts.

    Args:
        folder: The model folder, whose digests were checked.
        manifest: Names the files.

    Raises:
        ArtefactError: A file is not part of the model, or no language model.
    """
    found = {}
    with reading_manifest():
        for name, entry in dict(manifest.get("language", {})).items():
            if entry["file"] not in manifest["files"]:
                raise ArtefactError(f"the language model of '{name}' is not part of the model", fix="Fit again")
            model = read_arpa(folder / entry["file"])
            found[str(name)] = SpeechLanguage(model, str(entry["units"]), float(entry["longest_s"]))
    return found


def spec_of(manifest: dict[str, Any]) -> ModelSpec:
    """What the networks of a model are built of.

    Raises:
        ArtefactError: The manifest was not made by fit.
    """
    from omnifuse.presets import ModelSpec

    with reading_manifest():
        return ModelSpec.from_json(manifest["spec"])


def save_singles(models: dict[str, Model], folder: Path) -> None:
    """Write the single-field networks beside the model; they stay at home."""
    from omnifuse.api.comparison import singles_folder

    for number, model in enumerate(models.values()):
        save_model(model, singles_folder(folder) / str(number))


def load_singles(model: Model) -> dict[str, Model]:
    """Input to its single-field network, as far as they lie in the model's run folder."""
    from omnifuse.api.comparison import singles_folder

    if model.folder is None:
        return {}
    home = singles_folder(model.folder if (model.folder / "model").is_dir() else model.folder.parent)
    if not home.is_dir():
        return {}
    found = [load_model(path) for path in sorted(home.iterdir()) if path.is_dir()]
    return {other.fields[0]: other for other in found}


def _check_keys(expected: dict[str, Any], found: dict[str, np.ndarray]) -> None:
    """Name what differs between the architecture and the weights."""
    absent = sorted(set(expected) - set(found))
    foreign = sorted(set(found) - set(expected))
    wrong = sorted(
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in set(expected) & set(found)
        if tuple(expected[name].shape) != tuple(found[name].shape)
    )
    if absent or foreign or wrong:
        listed = [f"absent: {', '.join(absent[:5])}"] * bool(absent)
        listed += [f"unknown: {', '.join(foreign[:5])}"] * bool(foreign)
        listed += [f"other shape: {', '.join(wrong[:5])}"] * bool(wrong)
        raise ArtefactError(
            "the weights belong to another architecture", where="; ".join(listed), fix="Use the folder as fit wrote it"
        )


def model_card(manifest: dict[str, Any]) -> str:
    """CARD.md: what the model reads, answers and scores, in words."""
    schema = manifest["schema"]
    lines = ["# Model card", "", f"Made by omnifuse {manifest['code_version']}.", "", "## Reads", ""]
    lines += [f"- `{item['name']}` ({item['modality']}): {item['reason']}" for item in schema["fields"]]
    lines += ["", "## Answers", ""]
    for target in schema["targets"]:
        classes = f" among {', '.join(target['classes'][:20])}" if target["classes"] else ""
        lines.append(f"- `{target['name']}`: {target['kind']}{classes}")
    lines += ["", "## Scores", "", manifest.get("data", {}).get("scored_on", ""), ""]
    for name, result in manifest.get("metrics", {}).get("targets", {}).items():
        for metric, value in result["metrics"].items():
            if value.get("value") is not None:
                lines.append(f"- {name}, {metric}: {value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})")
        if result.get("fusion"):
            lines.append(f"- {name}, fusion: {result['fusion']['verdict']}")
    for way, score in manifest.get("pretraining", {}).get("retrieval", {}).items():
        one, _, two = way.partition(">")
        lines.append(
            f"- `{one}` finds `{two}`: R@1 {score['R@1']:.4f}, R@10 {score['R@10']:.4f}, median rank "
            f"{score['median_rank']:.0f} of {score['rows']} (R@1 by chance {score['chance R@1']:.4f})"
        )
    lines += [
        "",
        "## Limits",
        "",
        "The scores hold for data like the training table. A row with missing fields is answered from what is left,",
        "with the confidence measured for that case.",
        "",
    ]
    return "\n".join(lines)
