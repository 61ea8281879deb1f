"""`omnifuse edge`: an exported model answers from the shell, without PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import pairs, print_json


def edge(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder, exported."),
    source: str = typer.Argument(
        "-", help="- for JSON lines on stdin, a folder of files, a JSONL file, or a recording (video, sound)."
    ),
    column: str = typer.Option("", "--column", help="Column of the files, where the model reads several of a kind."),
    window: float = typer.Option(2.0, "--window", help="Seconds of a stream or recording that are looked at."),
    every: float = typer.Option(1.0, "--every", help="Seconds between the answers to a recording."),
    rate: list[str] | None = typer.Option(
        None, "--rate", metavar="COLUMN=HERTZ", help="Rate of a sound in a stream; 16000 by default."
    ),
    proba: bool = typer.Option(False, "--proba", help="Also the probability of each class."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media of JSON lines lie only in this folder."),
    threads: int | None = typer.Option(None, "--threads", min=1, max=256, help="Of the graphs; all cores by default."),
) -> None:
    """Print one line of JSON for each line, file or step of SOURCE."""
    from omnifuse.deploy.runtime import Runtime

    runtime = Runtime(model_folder, threads=threads)
    for answer in _answers(runtime, source, column, window, every, pairs(rate, "--rate"), proba, media_root):
        print_json(answer)
        sys.stdout.flush()


def _answers(
    runtime: Any,
    source: str,
    column: str,
    window_s: float,
    every_s: float,
    rates: dict[str, str],
    proba: bool,
    media_root: Path | None,
) -> Iterator[dict[str, Any]]:
    from omnifuse.deploy.edge import answer_folder, answer_lines, answer_recording
    from omnifuse.errors import InputError

    path = Path(source)
    if source != "-" and path.is_dir():
        return answer_folder(runtime, path, proba=proba, column=column)
    if source != "-" and not path.is_file():
        raise InputError(f"'{source}' is no file and no folder", fix="Give one, or - for JSON lines on stdin")
    if source != "-" and path.suffix.lower() not in (".jsonl", ".ndjson"):
        return answer_recording(runtime, path, proba=proba, window_s=window_s, every_s=every_s, column=column)
    if not all(text.isdigit() for text in rates.values()):
        raise InputError("a rate is no whole number", fix="Write for example --rate sound=16000")
    hertz = {name: int(text) for name, text in rates.items()}
    lines: Iterable[str] = sys.stdin if source == "-" else path.open(encoding="utf-8", errors="replace")
    return answer_lines(runtime, lines, proba=proba, window_s=window_s, rates_hz=hertz, media_root=media_root)
