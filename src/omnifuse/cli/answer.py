"""`omnifuse answer`: answers in words to questions about pictures, sounds or rows."""

from __future__ import annotations

from pathlib import Path

import typer

from omnifuse.cli.options import pairs
from omnifuse.cli.writing import METHOD_HELP, print_texts, question_field, source_of, target_of


def answer(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    files: list[str] = typer.Argument(
        ..., metavar="FILES...", help="Pictures, sounds, videos, or one table that holds the questions."
    ),
    question: str | None = typer.Option(None, "--question", "-q", help="Asked of every file."),
    choice: list[str] | None = typer.Option(None, "--choice", help="Only these answers; repeat for each."),
    target: str | None = typer.Option(None, "--target", metavar="COLUMN", help="The answer, where there are several."),
    field: str | None = typer.Option(None, "--field", metavar="NAME", help="The field that the files are."),
    cell: list[str] | None = typer.Option(None, "--cell", help="NAME=VALUE: a cell that every file's row has."),
    method: str = typer.Option("beam", "--method", help=METHOD_HELP),
    beams: int = typer.Option(4, "--beams", help="Texts that beam search keeps."),
    num: int = typer.Option(1, "--num", help="Texts a file, best first, with their scores."),
    temperature: float = typer.Option(1.0, "--temperature", help="Of sampling: below 1 surer, above 1 wilder."),
    top_p: float = typer.Option(1.0, "--top-p", help="Sampling draws from the likeliest pieces of this probability."),
    seed: int = typer.Option(0, "--seed", help="Of sampling."),
    max_length: int | None = typer.Option(None, "--max-length", help="Most characters of a text."),
    as_json: bool = typer.Option(False, "--json", help="Texts with scores as one JSON document on stdout."),
) -> None:
    """Answer a question about each of FILES with the model in DIR."""
    from omnifuse.api import load
    from omnifuse.schema import TaskKind

    model = load(model_folder)
    name = target_of(model.schema, TaskKind.ANSWERING, target)
    cells = pairs(cell, "--cell")
    if question is not None:
        cells[question_field(model.schema)] = question
    source, names = source_of(model, files, cells, field=field)
    answers = model.generate(
        source,
        target=name,
        choices=choice or None,
        method=method,
        beams=beams,
        num=num,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        max_length=max_length,
    )
    print_texts(answers, name, names, as_json=as_json, num=num)
