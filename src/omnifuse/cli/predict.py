"""`omnifuse predict`: answers for every row of a table, in its order, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from omnifuse.cli.options import print_json
from omnifuse.errors import InputError

if TYPE_CHECKING:
    from omnifuse.api import Model
    from omnifuse.schema import Prediction


def flat_row(answer: Prediction, model: Model, *, proba: bool) -> dict[str, Any]:
    """One output row: id columns, answers, modalities_used, warnings, error."""
    from omnifuse.schema import TaskKind

    row: dict[str, Any] = dict(answer.ids) if answer.ids else {"row": answer.row_id}
    for target in model.schema.targets:
        found = answer.targets.get(target.name)
        value = found.value if found else None
        row[target.name] = "|".join(value) if isinstance(value, list | tuple) else value
        row[f"{target.name}_confidence"] = found.confidence if found else None
        row[f"{target.name}_abstained"] = found.abstained if found else None
        if target.kind is TaskKind.REGRESSION:
            row[f"{target.name}_low"] = found.low if found else None
            row[f"{target.name}_high"] = found.high if found else None
        if proba:
            chances = (found.probabilities if found else None) or {}
            row |= {f"{target.name}={name}": chances.get(name) for name in target.classes}
    return row | _circumstances(answer)


def named_row(answer: Prediction, names: Sequence[str], *, proba: bool) -> dict[str, Any]:
    """One output row of classes that are named by words: as `flat_row`, of the column `label`."""
    from omnifuse.api.naming import NAMED

    row: dict[str, Any] = dict(answer.ids) if answer.ids else {"row": answer.row_id}
    found = answer.targets.get(NAMED)
    row |= {NAMED: found.value if found else None, f"{NAMED}_confidence": found.confidence if found else None}
    if proba:
        chances = (found.probabilities if found else None) or {}
        row |= {f"{NAMED}={name}": chances.get(name) for name in names}
    return row | _circumstances(answer)


def _circumstances(answer: Prediction) -> dict[str, Any]:
    """modalities_used, warnings, error."""
    row: dict[str, Any] = {}
    row["modalities_used"] = "+".join(answer.modalities_used)
    row["warnings"] = "; ".join(answer.warnings)
    row["error"] = answer.error or ""
    return row


def predict(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    table: str = typer.Argument(..., help="CSV, TSV, Parquet, JSONL or folder."),
    out: Path = typer.Option(..., "-o", "--out", help="OUT.csv, OUT.parquet or OUT.jsonl."),
    proba: bool = typer.Option(False, "--proba", help="Also a column for the probability of each class."),
    history: str | None = typer.Option(
        None,
        "--history",
        metavar="TABLE",
        help="Earlier rows, which are not answered: what a model of --time reads as the past, beside TABLE's own.",
    ),
    labels: str | None = typer.Option(
        None, "--labels", metavar="A,B", help="Classes named by words alone, where the model's space holds text."
    ),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    as_json: bool = typer.Option(False, "--json", help="A summary as one JSON document on stdout."),
) -> None:
    """Answer every row of TABLE with the model in DIR."""
    from omnifuse.api import load
    from omnifuse.api.naming import name_rows, named_labels
    from omnifuse.data.write import write_rows

    model = load(model_folder)
    if labels is not None and history is not None:
        raise InputError("--labels and --history were both given", fix="Give one of them")
    counts = {"rows": 0, "warnings": 0, "errors": 0}

    def rows() -> Iterator[dict[str, Any]]:
        names = () if labels is None else named_labels(labels)
        chunks = (
            model.stream(table, proba=proba, media_root=media_root, history=history)
            if labels is None
            else name_rows(model, table, names, proba=proba, media_root=media_root)
        )
        for chunk in chunks:
            for answer in chunk:
                counts["rows"] += 1
                counts["warnings"] += bool(answer.warnings)
                counts["errors"] += answer.error is not None
                yield flat_row(answer, model, proba=proba) if labels is None else named_row(answer, names, proba=proba)

    write_rows(rows(), out)
    if as_json:
        print_json({"out": str(out), **counts})
    else:
        typer.echo(
            f"{counts['rows']} rows -> {out}  ({counts['warnings']} with warnings, {counts['errors']} unanswered)"
        )
