"""`omnifuse embed`: vectors of unit length in the unified space."""

from __future__ import annotations

from pathlib import Path

import typer

from omnifuse.cli.options import print_json


def embed(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    table: str = typer.Argument(..., help="CSV, TSV, Parquet, JSONL or folder."),
    out: Path = typer.Option(..., "-o", "--out", help="OUT.parquet."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    as_json: bool = typer.Option(False, "--json", help="A summary as one JSON document on stdout."),
) -> None:
    """Write ids, `embedding` (fused) and `embedding_<field>` of every row of TABLE."""
    from omnifuse.api import load
    from omnifuse.api.embedding import write_embeddings

    num_rows, widths = write_embeddings(load(model_folder), table, out, media_root=media_root)
    if as_json:
        print_json({"out": str(out), "rows": num_rows, "widths": widths})
    else:
        listed = ", ".join(f"{name} ({width})" for name, width in widths.items())
        typer.echo(f"{num_rows} rows -> {out}: {listed}")
