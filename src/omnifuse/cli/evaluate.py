"""`omnifuse evaluate`: scores with intervals on a labelled table, complete and for every subset of fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import interval_text, print_json, print_table, score_text

NUM_WORST = 5


def evaluate(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    table: str = typer.Argument(..., help="Table with the label columns."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    seed: int = typer.Option(0, "--seed", help="Of the bootstrap."),
    as_json: bool = typer.Option(False, "--json", help="Results as one JSON document on stdout."),
) -> None:
    """Measure the model in DIR on TABLE."""
    from omnifuse.api import load

    result = load(model_folder).evaluate(table, media_root=media_root, seed=seed)
    if as_json:
        print_json(result)
        return
    typer.echo(f"{result['rows']} rows")
    for name, target in result["targets"].items():
        rows = [(metric, score_text(score)) for metric, score in target["metrics"].items()]
        print_table(f"\n{name} ({target['task']})", ("metric", "score (95% interval)"), rows)
        metrics = list(target["metrics"])[:4]
        subsets = [
            (subset, *(f"{scores[m]:.3f}" if scores.get(m) is not None else "-" for m in metrics))
            for subset, scores in target["subsets"].items()
        ]
        if subsets:
            print_table("", ("with only", *metrics), subsets)
        if words := interval_text(target):
            typer.echo(words)
        _print_details(target.get("details", {}))
        for note in target.get("notes", ()):
            typer.echo(note)
        if target.get("calibration", {}).get("ece") is not None:
            typer.echo(f"calibration error (ECE): {target['calibration']['ece']:.3f}")


def _print_details(details: dict[str, Any]) -> None:
    """Of texts: what is done to them before they are compared, each kind of error, and the worst utterances."""
    if "words" in details:
        kinds = ("substitutions", "deletions", "insertions")
        counted = ", ".join(f"{details[kind]} {kind}" for kind in kinds)
        typer.echo(f"of {details['words']} words: {counted}")
    if "normaliser" in details:
        typer.echo(f"texts are compared by the normaliser '{details['normaliser']}'")
    worst = [
        (str(item["row"] + 1), f"{item['errors']}/{item['words']}", item["reference"] or "(nothing)", item["answer"])
        for item in details.get("worst", ())[:NUM_WORST]
    ]
    if worst:
        print_table("", ("worst row", "errors", "said", "written"), worst)
