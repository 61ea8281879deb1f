"""`omnifuse compress`: smaller graphs that answer as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import print_json, print_table
from omnifuse.cli.progress import Progress
from omnifuse.errors import InputError


def compress(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder, exported."),
    int8: bool = typer.Option(False, "--int8", help="Weights of 8 bits, graph by graph."),
    members: int = typer.Option(
        0, "--members", metavar="K", help="Keep only K of the networks; K or more for a budget."
    ),
    prune: float = typer.Option(0.0, "--prune", metavar="R", help="Take this share of hidden channels and heads out."),
    distil: str | None = typer.Option(None, "--distil", metavar="PRESET", help="Fit a student of this size first."),
    table: str | None = typer.Option(None, "--table", help="What the student learns from: the table of the fit."),
    fields: str | None = typer.Option(None, "--fields", metavar="A,B", help="All that the student reads."),
    minutes: float | None = typer.Option(None, "--minutes", help="Upper limit for training the student; 6 by default."),
    epochs: int | None = typer.Option(None, "--epochs", help="Fixed number of passes of the student instead."),
    max_bad: float = typer.Option(0.01, "--max-bad", help="Of the student, as for fit."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Of the student, as for fit."),
    budget: str = typer.Option("", "--budget", help="Search for steps: '20 ms', '5 MB' or '1% accuracy'."),
    loss: float = typer.Option(0.005, "--loss", help="Share of the score that may be lost."),
    check: str | None = typer.Option(None, "--check", help="Labelled table instead of the rows held back by fit."),
    out: Path | None = typer.Option(None, "--out", help="Where it goes; compressed/ in the run folder by default."),
    threads: int | None = typer.Option(None, "--threads", min=1, max=256, help="Of the graphs; all cores by default."),
    as_json: bool = typer.Option(False, "--json", help="What was tried as one JSON document on stdout."),
) -> None:
    """Write a smaller model beside the one in DIR, keeping each step only if it pays and answers stay as good."""
    from omnifuse.api.compressing import CompressOptions, compress_model
    from omnifuse.api.distilling import Lesson

    of_student = {"--fields": fields, "--minutes": minutes, "--epochs": epochs}
    if distil is None and (given := [name for name, value in of_student.items() if value is not None]):
        raise InputError(f"{given[0]} is for a student, and there is none", fix="Add --distil PRESET, or leave it out")
    names = tuple(name.strip() for name in fields.split(",")) if fields else ()
    options = CompressOptions(
        int8=int8,
        members=members,
        prune=prune,
        budget=budget,
        most_loss=loss,
        threads=threads,
        student=None if distil is None else Lesson(distil, names, minutes, epochs, max_bad, media_root),
    )
    progress = Progress()
    try:
        found = compress_model(model_folder, out=out, check=check, table=table, options=options, progress=progress)
    finally:
        progress.close()
    if as_json:
        print_json(found)
        return
    print_table("", ["step", "size", "one row", "score (95% interval)", "same answer", "kept"], _steps(found))
    for step in found["steps"]:
        if step["graphs"]:
            rows = [
                [item["file"], item["form"], _graph_size(item), _graph_ms(item), item["why"]] for item in step["graphs"]
            ]
            print_table("", ["graph", "form", "size", "one row", "why"], rows)
    typer.echo(f"judged on {found['judged_on']}")
    if found["out"] is None:
        typer.echo("nothing was written: the exported graphs stay the best")
        return
    (large, small), (slow, quick) = found["size_bytes"], found["row_ms"]
    typer.echo(f"{large / small:.2f} times smaller, {slow / quick:.2f} times as fast: {found['out']}")


def _steps(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for step in found["steps"]:
        scores = [
            f"{name} {item['metric']} {item['value']:.3f}"
            + (f" ({item['low']:.3f} to {item['high']:.3f})" if item["low"] is not None else "")
            for name, item in step["scores"].items()
            if item["value"] is not None
        ]
        kept = "" if step is found["steps"][0] else f"{'yes' if step['kept'] else 'no'}: {step['why']}"
        size = f"{step['size_bytes'] / 1e6:.2f} MB"
        row = [
            step["step"],
            size,
            f"{step['row_ms']:.2f} ms",
            "; ".join(scores) or "-",
            f"{step['agreement']:.1%}",
            kept,
        ]
        rows.append(row)
    return rows


def _graph_size(item: dict[str, Any]) -> str:
    before, after = item["size_bytes"]
    return f"{before / 1e6:.2f} -> {after / 1e6:.2f} MB" if before != after else f"{before / 1e6:.2f} MB"


def _graph_ms(item: dict[str, Any]) -> str:
    if item["ms"] is None:
        return "-"
    before, after = item["ms"]
    return f"{before:.2f} -> {after:.2f} ms" if before != after else f"{before:.2f} ms"
