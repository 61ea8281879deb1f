"""`omnifuse transcribe`: what is said in each sound, with words in time, as text, JSON or subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import pairs, print_json
from omnifuse.cli.writing import source_of, target_of
from omnifuse.errors import InputError
from omnifuse.schema import TaskKind


def transcribe(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    files: list[str] = typer.Argument(..., metavar="FILES...", help="Sounds of any length, or one table."),
    target: str | None = typer.Option(
        None, "--target", metavar="COLUMN", help="The transcript, where there are several."
    ),
    field: str | None = typer.Option(None, "--field", metavar="NAME", help="The field that the files are."),
    cell: list[str] | None = typer.Option(
        None, "--cell", help="NAME=VALUE: what every file's row has beside the sound, as a text of context."
    ),
    phrases: Path | None = typer.Option(
        None, "--phrases", metavar="FILE", help="Names and phrases to listen for, one a line."
    ),
    boost: float = typer.Option(1.0, "--boost", help="How much each character of a phrase counts."),
    lm_weight: float = typer.Option(0.5, "--lm-weight", help="How much the language model of the transcripts counts."),
    attention: float = typer.Option(0.3, "--attention", help="How much the decoder counts beside them, 0 to 1."),
    beams: int = typer.Option(16, "--beams", help="Texts that the search keeps."),
    num: int = typer.Option(1, "--num", help="Texts of a sound that is read at once, best first, with their scores."),
    srt: bool = typer.Option(False, "--srt", help="Subtitles in the SubRip format on stdout."),
    vtt: bool = typer.Option(False, "--vtt", help="Subtitles in the WebVTT format on stdout."),
    as_json: bool = typer.Option(False, "--json", help="Words with times and confidences as one JSON document."),
    all_sound: bool = typer.Option(False, "--all-sound", help="Listen to stretches without a voice too."),
    stream: bool = typer.Option(
        False, "--stream", help="Print words while the sound comes; FILES may be '-': 16-bit mono samples on stdin."
    ),
    rate_hz: int = typer.Option(16_000, "--rate", help="Of samples on stdin."),
) -> None:
    """Write down what is said in each of FILES with the model in DIR."""
    from omnifuse.api import load
    from omnifuse.readout.speech import read_phrases

    if srt + vtt + as_json > 1:
        raise InputError("--srt, --vtt and --json exclude each other", fix="Give one of them")
    listed: tuple[str, ...] = ()
    if phrases is not None:
        if not phrases.is_file():
            raise InputError(f"there is no file '{phrases}'", fix="Give a file with one phrase a line")
        listed = tuple(read_phrases(phrases.read_text(encoding="utf-8", errors="replace").splitlines()))
    options: dict[str, Any] = {
        "phrases": listed,
        "boost": boost,
        "lm_weight": lm_weight,
        "attention": attention,
        "beams": beams,
        "num": num,
    }
    model = load(model_folder)
    name = target_of(model.schema, TaskKind.TRANSCRIPTION, target)
    cells = pairs(cell, "--cell")
    if stream:
        from omnifuse.cli.transcribe_stream import print_stream

        if srt or vtt:
            raise InputError("--stream gives no subtitles", fix="Leave out --srt and --vtt")
        print_stream(model, files, name, cells, options=options, rate_hz=rate_hz, as_json=as_json)
        return
    source, names = source_of(model, files, cells, field=field)
    if (srt or vtt) and (names is None or len(names) > 1):
        raise InputError("subtitles are of one sound", fix="Give one file at a time")
    found = model.transcribe(source, target=name, speech_only=not all_sound, **options)
    if srt or vtt:
        from omnifuse.readout.subtitles import as_srt, as_vtt

        typer.echo((as_srt if srt else as_vtt)(found[0].words), nl=False)
        return
    _print_transcripts(found, name, names, as_json=as_json, num=num)


def _print_transcripts(
    found: Sequence[Any], target: str, names: Sequence[str] | None, *, as_json: bool, num: int
) -> None:
    """A line a sound, its other texts below it; or one JSON document."""
    labelled = list(zip(names or [str(item.row_id) for item in found], found, strict=True))
    if as_json:
        key = "row" if names is None else "file"
        listed = [{key: name, **item.to_json()} for name, item in labelled]
        print_json({"target": target, "texts": listed, "model_id": found[0].model_id if found else ""})
        return
    for name, item in labelled:
        if item.error:
            typer.echo(f"{name}: ({'; '.join([item.error, *item.warnings])})")
            continue
        typer.echo(f"{name}: {item.text or '(nothing)'}")
        for other in item.hypotheses[1:] if num > 1 else ():
            typer.echo(f"    {other.text}  ({other.score:.3f})")
        for warning in item.warnings:
            typer.echo(f"{name}: {warning}", err=True)
