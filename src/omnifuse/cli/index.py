"""`omnifuse index`: rows with their vectors into a folder that can be searched."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import print_json

_EVERY_S = 5.0


def index(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    table: str = typer.Argument(..., help="CSV, TSV, Parquet, JSONL or folder."),
    out: Path = typer.Option(..., "-o", "--out", metavar="IDX", help="Folder of the index; made, or added to."),
    id_column: str | None = typer.Option(
        None, "--id", metavar="COLUMN", help="Names the rows; by default ids, else numbers."
    ),
    replace: bool = typer.Option(False, "--replace", help="Rows whose ids are there already take their place."),
    only_fused: bool = typer.Option(False, "--only-fused", help="Keep no vectors of single fields."),
    half: bool = typer.Option(False, "--half", help="Vectors in 16 bits: half the bytes."),
    graphs: bool = typer.Option(False, "--graphs", help="Ask what `omnifuse export` wrote, without PyTorch."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    as_json: bool = typer.Option(False, "--json", help="A summary as one JSON document on stdout."),
) -> None:
    """Embed every row of TABLE and keep vectors and columns in IDX, for `omnifuse search`."""
    from omnifuse.search.indexing import index_table

    last = time.monotonic()

    def told(done: int, rows: int) -> None:
        nonlocal last
        if not done:
            sys.stderr.write(f"embedding {rows} rows\n")
        elif done < rows and time.monotonic() > last + _EVERY_S:
            last = time.monotonic()
            sys.stderr.write(f"{done} of {rows} rows\n")

    found = index_table(
        answerer(model_folder, graphs=graphs), table, out, id_column=id_column, only_fused=only_fused,
        precision="float16" if half else "float32", replace=replace, media_root=media_root, progress=told,
    )  # fmt: skip
    for note in found.notes:
        sys.stderr.write(f"omnifuse: {note}\n")
    made = found.index
    if as_json:
        print_json(
            {"out": str(out), "added": found.rows, "rows": len(made), "spaces": made.spaces,
             "columns": {name: kind.value for name, kind in made.columns.items()}, "model_id": made.model_id,
             "notes": list(found.notes)}
        )  # fmt: skip
    else:
        typer.echo(f"{found.rows} rows -> {out} ({len(made)} in all, model {made.model_id})")


def answerer(folder: Path, *, graphs: bool) -> Any:
    """The model of a folder, or its exported graphs."""
    if graphs:
        from omnifuse.deploy.runtime import Runtime

        return Runtime(folder)
    from omnifuse.api import load

    return load(folder)
