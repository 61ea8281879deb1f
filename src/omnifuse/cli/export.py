"""`omnifuse export`: graphs that run without PyTorch."""

from __future__ import annotations

from pathlib import Path

import typer

from omnifuse.cli.options import print_json, print_table


def export(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    form: str = typer.Option("onnx", "--to", help="Form of the graphs: onnx."),
    check: str | None = typer.Option(None, "--check", help="Table to compare on instead of the rows held back by fit."),
    as_json: bool = typer.Option(False, "--json", help="The comparison as one JSON document on stdout."),
) -> None:
    """Write a graph a field and one for the fusion, after comparing their answers with the model's."""
    from omnifuse.api import load
    from omnifuse.api.exporting import export_model
    from omnifuse.errors import InputError

    if form != "onnx":
        raise InputError(f"--to '{form}' is not known", fix="The form is onnx")
    found = export_model(load(model_folder), model_folder, check=check)
    if as_json:
        print_json(found)
        return
    print_table(
        "",
        ["fields", "largest difference", "same answer"],
        [[name, f"{item['relative']:.1e}", f"{item['agreement']:.1%}"] for name, item in found["subsets"].items()],
    )
    size = sum(found["graphs"].values()) / 1e6
    typer.echo(f"{len(found['graphs'])} graphs, {size:.1f} MB, compared on {found['rows']} rows: {model_folder}")
