"""`omnifuse report`: the space of an index as a page."""

from __future__ import annotations

from pathlib import Path

import typer

from omnifuse.cli.options import print_json


def report(
    folder: Path = typer.Argument(..., metavar="IDX", help="What `omnifuse index` made."),
    out: Path | None = typer.Option(None, "-o", "--out", metavar="OUT.html", help="IDX/report.html by default."),
    label: str | None = typer.Option(None, "--label", metavar="COLUMN", help="Colours the map; a target or classes."),
    where: str | None = typer.Option(None, "--where", metavar="FILTER", help="Only rows that fit."),
    seed: int = typer.Option(0, "--seed", help="Of the rows that are drawn where there are many."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    as_json: bool = typer.Option(False, "--json", help="The measures as one JSON document on stdout."),
) -> None:
    """A map of the space, and how well its modalities meet: alignment, uniformity, gap, hubness, retrieval."""
    from omnifuse.report.space import write_space
    from omnifuse.search import Index
    from omnifuse.search.space import measured_space, space_words

    index = Index.open(folder)
    measured = measured_space(index, where=where, label=label, seed=seed)
    path = write_space(index, measured, out or folder / "report.html", media_root=media_root)
    if as_json:
        print_json({**measured.to_json(), "html": str(path)})
        return
    for line in space_words(measured):
        typer.echo(line)
    typer.echo(f"Page: {path}")
