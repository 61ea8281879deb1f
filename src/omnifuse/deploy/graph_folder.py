"""The folder `graph/` of an exported model: graphs in ONNX, and `graph.json`, which says what they take and give.

It is tied to the model folder that it lies in: `graph.json` names the model's id and the SHA-256 of each graph, and
carries its own digest, so that no graph of another model and no changed byte is ever run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnifuse.errors import ArtefactError
from omnifuse.files import make_folder, sha256_of, write_atomically

GRAPH_FOLDER, GRAPH_MANIFEST, FUSION_FILE = "graph", "graph.json", "fusion.onnx"
FORMAT = 1
MAX_MANIFEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class FieldSignature:
    """What the graph of one field takes and gives.

    Attributes:
        file: Its file.
        arrays: Name of each array it takes, in order, with its element type as numpy names it.
        width: D.
        features: S, 0 where no shallow head reads the field.
        steps: Whether rows have a length of their own; otherwise each has one step.
        places: T where the heads of the field ask for so many tokens, also of rows without it; 0 for any number.
    """

    file: str
    arrays: tuple[tuple[str, str], ...]
    width: int
    features: int
    steps: bool
    places: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "file": self.file,
            "arrays": [list(item) for item in self.arrays],
            "width": self.width,
            "features": self.features,
            "steps": self.steps,
            "places": self.places,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FieldSignature:
        """Inverse of `to_json`."""
        arrays = tuple((str(name), str(kind)) for name, kind in data["arrays"])
        width, features, places = (int(data[key]) for key in ("width", "features", "places"))
        return cls(str(data["file"]), arrays, width, features, bool(data["steps"]), places)


@dataclass(frozen=True)
class GraphSignature:
    """What all graphs of a model take and give.

    Attributes:
        fields: Field to its graph, in the order of the fusion's inputs.
        inputs: Names of what the fusion takes.
        outputs: (kind, target, head) of what it gives, see `FusionGraph.outputs`.
        num_members: E.
        precision: "fp32" or "int8".
    """

    fields: dict[str, FieldSignature]
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str, str], ...]
    num_members: int
    precision: str = "fp32"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "fields": [[name, item.to_json()] for name, item in self.fields.items()],
            "inputs": list(self.inputs),
            "outputs": [list(item) for item in self.outputs],
            "num_members": self.num_members,
            "precision": self.precision,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GraphSignature:
        """Inverse of `to_json`."""
        return cls(
            {str(name): FieldSignature.from_json(item) for name, item in data["fields"]},
            tuple(str(name) for name in data["inputs"]),
            tuple((str(kind), str(target), str(head)) for kind, target, head in data["outputs"]),
            int(data["num_members"]),
            str(data["precision"]),
        )


def graph_file(name: str, number: int) -> str:
    """`encoder_<field>.onnx`; a field whose name is no plain word is numbered instead.

    Example:
        >>> graph_file("image", 0), graph_file("a/b", 1)
        ('encoder_image.onnx', 'encoder_1.onnx')
    """
    plain = name.isascii() and name.replace("_", "").isalnum() and not name.isdigit() and name == name.lower()
    return f"encoder_{name if plain else number}.onnx"


def _digest(data: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in data.items() if key != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save_graphs(model_folder: Path, model_id: str, signature: GraphSignature, graphs: Mapping[str, bytes]) -> Path:
    """Write graphs and their description into a model folder, the description last.

    Args:
        model_folder: Where `model.json` lies.
        model_id: Of the model that was exported.
        signature: Of the graphs.
        graphs: File name to content.

    Returns:
        The folder of the graphs.
    """
    folder = model_folder / GRAPH_FOLDER
    make_folder(folder)
    for name, content in graphs.items():
        write_atomically(folder / name, content)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(graphs.items())}
    data = {"format": FORMAT, "model_id": model_id, "files": files, **signature.to_json()}
    data["digest"] = _digest(data)
    write_atomically(folder / GRAPH_MANIFEST, json.dumps(data, indent=1, sort_keys=True).encode())
    return folder


def load_graphs(model_folder: Path, model_id: str) -> tuple[GraphSignature, dict[str, Path]]:
    """Read the description of a model's graphs with every digest checked.

    Args:
        model_folder: Where `model.json` lies.
        model_id: Of that model.

    Returns:
        The signature, and file name to path.

    Raises:
        ArtefactError: The model was not exported, or its graphs are damaged or those of another model.
    """
    folder = model_folder / GRAPH_FOLDER
    path = folder / GRAPH_MANIFEST
    if not path.is_file():
        raise ArtefactError(
            f"the model in '{model_folder}' has no exported graphs",
            where=f"looked for {GRAPH_FOLDER}/{GRAPH_MANIFEST}",
            fix=f"Run: omnifuse export {model_folder} --to onnx",
        )
    if path.is_symlink() or path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ArtefactError(f"{GRAPH_MANIFEST} is no plain file of usual size", fix="Export again")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        signature, files, stated = GraphSignature.from_json(data), dict(data["files"]), data["digest"]
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}, this omnifuse reads {FORMAT}")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtefactError(f"{GRAPH_MANIFEST} cannot be read ({error})", fix="Export again") from None
    if stated != _digest(data):
        raise ArtefactError(f"the digest of {GRAPH_MANIFEST} does not match: it was changed", fix="Export again")
    if data["model_id"] != model_id:
        raise ArtefactError(
            f"the graphs are those of model {data['model_id']}, the folder holds model {model_id}", fix="Export again"
        )
    named = {item.file for item in signature.fields.values()} | {FUSION_FILE}
    if not named <= files.keys():
        raise ArtefactError(f"{GRAPH_MANIFEST} does not list every graph", fix="Export again")
    found = {}
    for name, digest in files.items():
        place = folder / name
        if Path(name).name != name or place.is_symlink() or not place.is_file():
            raise ArtefactError(f"graph '{name}' is absent or no plain file", fix="Export again")
        if sha256_of(place) != digest:
            raise ArtefactError(f"the digest of '{name}' does not match: it was changed or damaged", fix="Export again")
        found[name] = place
    return signature, found
