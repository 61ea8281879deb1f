"""A trained model to graphs that run without PyTorch, written only where they answer as the model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.data.tables import open_table
from omnifuse.deploy.artefact import find_model_folder
from omnifuse.deploy.graph_folder import FUSION_FILE, GRAPH_FOLDER, save_graphs
from omnifuse.deploy.held_back import load_held_back
from omnifuse.deploy.parity import TOLERANCE, compare_answers, parity_json
from omnifuse.errors import InputError, OmnifuseError
from omnifuse.files import remove_folder, write_atomically

if TYPE_CHECKING:
    from omnifuse.api.model import Model
    from omnifuse.data.pack import Pack
    from omnifuse.readout.raw import RawOutputs

PARITY = "parity.json"
# Rows of a given table that are checked
MOST_CHECKED = 64


def export_model(model: Model, folder: str | Path, *, check: Any = None) -> dict[str, Any]:
    """Export to ONNX: `graph/encoder_<field>.onnx`, `graph/fusion.onnx` and `parity.json` in the model folder.

    Args:
        model: What `load(folder)` gave.
        folder: A run folder or the model folder in it.
        check: Table whose first 64 rows are compared; None takes the rows that `fit` held back.

    Returns:
        What `parity.json` holds, with "graphs": file name to bytes.

    Raises:
        InputError: There are no rows to compare.
        OmnifuseError: A part cannot be exported, or the graphs answer differently; nothing is written then.
        MissingDependencyError: The packages for it are not installed.
    """
    from omnifuse.deploy.export import export_graphs, need_export
    from omnifuse.deploy.graph_runner import GraphRunner
    from omnifuse.training.predict import run_subsets

    if model.schema.written:
        raise InputError(
            f"'{model.schema.written[0].name}' is a text that the model writes, which exported graphs cannot do yet",
            fix="Answer with the model itself (omnifuse predict, serve), or fit one without this label for the graphs",
        )
    need_export()
    model.need_target()
    place = find_model_folder(folder)
    packs = _checked_rows(model, place, check)
    rows = np.arange(len(next(iter(packs.values())).present))
    modalities = {item.name: item.modality for item in model.schema.inputs}
    signature, graphs = export_graphs(model.members, modalities, packs)
    encoders = {name: graphs[item.file] for name, item in signature.fields.items()}
    runner = GraphRunner(signature, encoders, graphs[FUSION_FILE])

    def eager(subset: tuple[str, ...]) -> RawOutputs:
        return run_subsets(model.members, packs, rows, [subset])[subset]

    found = compare_answers(model.readouts, model.fields, eager, lambda subset: runner.raw(packs, rows, subset=subset))
    report = parity_json(len(rows), found)
    if not report["relative"] <= TOLERANCE:
        worst = max(found, key=lambda name: found[name].relative)
        raise OmnifuseError(
            f"the exported graphs answer {report['relative']:.1e} apart from the model, more than {TOLERANCE:g}",
            where=f"fields {worst}, {len(rows)} rows",
            fix="Nothing was written. Report it with the command that made the model",
        )
    remove_folder(place / GRAPH_FOLDER)
    save_graphs(place, model.model_id, signature, graphs)
    write_atomically(place / GRAPH_FOLDER / PARITY, json.dumps(report, indent=1).encode())
    return {**report, "graphs": {name: len(content) for name, content in graphs.items()}}


def _checked_rows(model: Model, place: Path, check: Any) -> dict[str, Pack]:
    if check is not None:
        table = model.opened(open_table(check))
        return model.decode(next(iter(table.batches(MOST_CHECKED)))).packs
    found = load_held_back(place.parent, model.fields)
    if found is None:
        raise InputError(
            "there are no rows to compare the graphs on",
            where=f"the run folder of '{place}' keeps none",
            fix="Give a table with the model's fields: --check TABLE",
        )
    return found
