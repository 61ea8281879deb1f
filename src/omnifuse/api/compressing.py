"""An exported model made smaller and faster, as far as its answers stay as good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.api.compress_budget import Budget, read_budget
from omnifuse.api.compress_judge import Judge
from omnifuse.api.compress_search import search
from omnifuse.api.compress_steps import Compressor
from omnifuse.data.pack import Pack
from omnifuse.data.tables import open_table
from omnifuse.data.targets import encode_target
from omnifuse.deploy.artefact import Artefact, find_model_folder, load_artefact
from omnifuse.deploy.compressed import check_out, compressed_folder, save_compressed
from omnifuse.deploy.description import described
from omnifuse.deploy.graph_set import read_graphs
from omnifuse.deploy.held_back import load_held_back, load_held_back_labels
from omnifuse.deploy.quantise import need_quantisation
from omnifuse.deploy.runtime import Runtime
from omnifuse.deploy.trial import Trial
from omnifuse.errors import InputError
from omnifuse.evaluation.metrics import MAIN_METRIC

# Of a table that is given, so many rows are looked at
MOST_CHECKED = 512
# Share of the score that may be lost
MOST_LOSS = 0.005


@dataclass(frozen=True)
class CompressOptions:
    """What is to be done; with no step named, members are left out and graphs quantised.

    Attributes:
        int8: Quantise.
        members: Keep so many; 0 leaves the number open.
        prune: Share of the hidden channels to take out, 0 for none.
        budget: "20 ms", "5 MB" or "1% accuracy": steps are searched until it is met; "" for none.
        most_loss: Share of the score that may be lost.
        threads: Of each graph; None leaves it to ONNX Runtime.
    """

    int8: bool = False
    members: int = 0
    prune: float = 0.0
    budget: str = ""
    most_loss: float = MOST_LOSS
    threads: int | None = None

    @property
    def open(self) -> bool:
        """Whether no step is named."""
        return not (self.int8 or self.members or self.prune)


@dataclass(frozen=True)
class _Rows:
    """Rows that graphs are judged on: decoded, with target to labels, and what they are in words."""

    packs: dict[str, Pack]
    truths: dict[str, np.ndarray]
    words: str

    @property
    def count(self) -> int:
        """Their number."""
        return len(next(iter(self.packs.values())).present)


def compress_model(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    check: Any = None,
    options: CompressOptions | None = None,
) -> dict[str, Any]:
    """Try steps that make the graphs of a model smaller, keep those that pay, and write what they make.

    Args:
        folder: A run folder or the model folder in it, after `omnifuse export`; it stays as it is.
        out: Where the compressed model goes; None for `compressed/` in the run folder.
        check: Labelled table whose first 512 rows are judged on; None takes the rows that `fit` held back.
        options: What is to be done.

    Returns:
        What `compress.json` holds; "out" is None where no step pays, and nothing is written then.

    Raises:
        InputError: The model was not exported, there are no rows, an option makes no sense, or a budget cannot be met.
        MissingDependencyError: The packages for it are not installed.
    """
    options = options or CompressOptions()
    need_quantisation()
    place = find_model_folder(folder)
    artefact = load_artefact(place)
    if "compressed" in artefact.manifest:
        raise InputError(
            f"the model in '{folder}' is compressed already", fix="Give the one that it was made of, with other options"
        )
    graphs = read_graphs(place, artefact.model_id)
    _check_options(options, graphs.signature.num_members)
    goes = compressed_folder(place) if out is None else Path(out)
    check_out(goes)
    readouts = described(artefact.manifest).readouts
    budget = _budget(options, [MAIN_METRIC[item.target.kind] for item in readouts.values()])
    rows = _rows(place, artefact, tuple(graphs.signature.fields), check)
    if budget is not None and budget.kind == "score" and not rows.truths:
        raise InputError(
            f"--budget '{budget.words}' needs rows with labels", fix="Give a labelled table: --check TABLE"
        )

    trial = Trial(rows.packs, threads=options.threads)
    judge = Judge(readouts, tuple(graphs.signature.fields), trial.answers(graphs), rows.truths)
    compressor = Compressor(
        trial,
        judge,
        graphs,
        goal=budget.kind if budget is not None else "both",
        most_loss=budget.limit if budget is not None and budget.kind == "score" else options.most_loss,
    )
    if budget is not None:
        search(compressor, budget, _allowed(options))
    else:
        _named(compressor, options)
    report = _report(compressor, artefact, rows, options, graphs_before=graphs)
    if compressor.graphs is graphs:
        return {**report, "out": None}
    report["out"] = str(goes)
    model_id = save_compressed(goes, artefact, compressor.graphs, report)
    return {**report, "model_id": model_id}


def _check_options(options: CompressOptions, num_members: int) -> None:
    if options.prune and not 0 < options.prune < 1:
        raise InputError(f"--prune {options.prune:g} is no share", fix="Give one above 0 and below 1, such as 0.3")
    if options.members and not 1 <= options.members < num_members:
        fix = f"Give 1 to {num_members - 1}" if num_members > 1 else "Leave it out"
        raise InputError(f"--members {options.members}, and the model has {num_members}", fix=fix)
    if not 0 <= options.most_loss < 1:
        raise InputError(f"--loss {options.most_loss:g} is no share", fix="Give one from 0 to below 1, such as 0.01")


def _budget(options: CompressOptions, metrics: list[str]) -> Budget | None:
    return read_budget(options.budget, sorted(set(metrics))) if options.budget else None


def _allowed(options: CompressOptions) -> set[str]:
    if options.open:
        return {"members", "int8", "prune"}
    named = {"int8": options.int8, "members": options.members > 0, "prune": options.prune > 0}
    return {name for name, there in named.items() if there}


def _named(compressor: Compressor, options: CompressOptions) -> None:
    """The steps that were named. Members are left out first: what follows then has less to do."""
    count = compressor.graphs.signature.num_members
    if options.members or options.open:
        compressor.fewer_members([options.members] if options.members else list(range(count - 1, 0, -1)))
    if options.prune:
        compressor.prune(options.prune)
    if options.int8 or options.open:
        compressor.int8()


def _rows(place: Path, artefact: Artefact, fields: tuple[str, ...], check: Any) -> _Rows:
    readouts = described(artefact.manifest).readouts
    if check is not None:
        runtime = Runtime(place)
        table = next(iter(runtime.opened(open_table(check)).batches(MOST_CHECKED)))
        named = {name: item.target for name, item in readouts.items() if name in table.columns}
        if not named:
            raise InputError(
                f"the table has none of the label columns {', '.join(readouts)}",
                where=f"its columns are {', '.join(table.columns)}",
                fix="Give a labelled table, or leave --check out",
            )
        truths = {name: encode_target(table.cells(name), target) for name, target in named.items()}
        return _Rows(runtime.decode(table).packs, truths, f"{table.num_rows} rows of {check}")
    packs = load_held_back(place.parent, fields)
    if packs is None:
        raise InputError(
            "there are no rows to judge smaller graphs on",
            where=f"the run folder of '{place}' keeps none",
            fix="Give a labelled table with the model's fields: --check TABLE",
        )
    truths = load_held_back_labels(place.parent, tuple(readouts))
    rows = _Rows(packs, truths, "")
    words = f"{rows.count} rows held back by fit" + ("" if truths else ", which kept no labels")
    if "out-of-fold" in str(artefact.manifest.get("data", {}).get("scored_on", "")):
        words += "; each was learnt from by all members but one, so only losses count, not the scores"
    return replace(rows, words=words)


def _report(
    compressor: Compressor, artefact: Artefact, rows: _Rows, options: CompressOptions, *, graphs_before: Any
) -> dict[str, Any]:
    both: Mapping[str, Any] = {"before": graphs_before, "after": compressor.graphs}
    ms = compressor.trial.row_ms(both)
    return {
        "model": artefact.model_id,
        "rows": rows.count,
        "judged_on": rows.words,
        "most_loss": compressor.most_loss,
        "budget": options.budget or None,
        "members": [graphs_before.signature.num_members, compressor.graphs.signature.num_members],
        "size_bytes": [graphs_before.size_bytes, compressor.graphs.size_bytes],
        "row_ms": [ms["before"], ms["after"]],
        "steps": [step.to_json() for step in compressor.steps],
    }
