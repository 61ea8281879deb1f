"""The folder of a compressed model: a model folder with graphs and without weights for PyTorch.

It is a model of its own, with an id of its own, since it answers a little otherwise than the one that it was made of.
That one stays as it was.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnifuse.deploy.artefact import MANIFEST, Artefact, save_artefact
from omnifuse.deploy.graph_folder import save_graphs
from omnifuse.deploy.graph_set import GraphSet
from omnifuse.errors import InputError
from omnifuse.files import make_folder, remove_folder, sync_folder, write_atomically

REPORT = "compress.json"


def compressed_folder(model_folder: Path) -> Path:
    """Where a compressed model lies unless told otherwise: `compressed/` in the run folder.

    Example:
        >>> compressed_folder(Path("runs/mine/model")).as_posix(), compressed_folder(Path("sent")).as_posix()
        ('runs/mine/compressed', 'sent-compressed')
    """
    if model_folder.name == "model":
        return model_folder.parent / "compressed"
    return model_folder.with_name(f"{model_folder.name}-compressed")


def check_out(out: Path) -> None:
    """Refuse a place that holds anything but an earlier compressed model.

    Raises:
        InputError: It does.
    """
    if out.exists() and not (out / REPORT).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"'{out}' holds something else than a compressed model", fix="Give another folder with --out")


def save_compressed(out: Path, artefact: Artefact, graphs: GraphSet, report: Mapping[str, Any], *, of: str) -> str:
    """Write `out/model/` and `out/compress.json`: all of it at once, or nothing where something fails.

    Args:
        out: Where; an earlier compressed model there is replaced.
        artefact: The model that was compressed, or the student that took its place.
        graphs: Smaller ones.
        report: What was tried.
        of: Id of the model that was compressed.

    Returns:
        The id of the compressed model.
    """
    check_out(out)
    kept = [step["step"] for step in report["steps"][1:] if step["kept"]]
    made = {"of": of, "steps": kept, "rows": report["rows"]}
    words = f"\n## Compressed\n\nMade of model `{of}` by: {'; '.join(kept) or 'nothing'}. "
    scored = (
        "that model" if artefact.model_id == of else f"the student `{artefact.model_id}` before it was made smaller"
    )
    card = artefact.card + words + f"The scores above are those of {scored}.\n"
    temporary = out.with_name(f"{out.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        manifest = {key: value for key, value in artefact.manifest.items() if key not in ("digest", "files")}
        model_id = save_artefact(temporary / "model", Artefact({**manifest, "compressed": made}, {}, card))
        save_graphs(temporary / "model", model_id, graphs.signature, graphs.contents)
        write_atomically(temporary / REPORT, json.dumps({**report, "model_id": model_id}, indent=1).encode())
        make_folder(out.parent)
        if out.exists():
            remove_folder(out)
        temporary.rename(out)
        sync_folder(out.parent)
    finally:
        if temporary.exists():
            remove_folder(temporary)
    assert (out / "model" / MANIFEST).is_file()
    return model_id
