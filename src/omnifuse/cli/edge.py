"""`omnifuse edge`: an exported model answers from the shell, without PyTorch."""

from __future__ import annotations

import contextlib
import platform
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from omnifuse.cli.following import CACHE, POLL, REGISTRY, TRUST, cache_of, check_followed
from omnifuse.cli.options import pairs, print_json
from omnifuse.errors import InputError

if TYPE_CHECKING:
    from omnifuse.deploy.edge import Current


def edge(
    model_folder: Path | None = typer.Argument(None, metavar="DIR", help="Run folder or model folder, exported."),
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
    registry: str | None = REGISTRY,
    trust: list[Path] | None = TRUST,
    poll: float = POLL,
    cache: Path | None = CACHE,
    box: str | None = typer.Option(
        None, "--box", metavar="NAME", help="With --registry: chooses whether a canary answers; else the host's name."
    ),
) -> None:
    """Print one line of JSON for each line, file or step of SOURCE; with --registry PLACE give SOURCE alone."""
    check_followed(registry, trust, cache)
    if registry is not None:
        if source != "-":
            raise InputError(
                "a model folder and a registry were given", fix="Give DIR SOURCE or --registry PLACE SOURCE"
            )
        source = "-" if model_folder is None else str(model_folder)
    elif model_folder is None:
        raise InputError("no model was given", fix="Give DIR or --registry PLACE")
    with contextlib.ExitStack() as opened:
        if registry is not None:
            place = cache_of(registry, cache)
            current = opened.enter_context(_following(registry, place, trust or [], poll, threads, box))
        else:
            current = _alone(model_folder, threads)
        for answer in _answers(current, source, column, window, every, pairs(rate, "--rate"), proba, media_root):
            print_json(answer)
            sys.stdout.flush()


def _alone(folder: Path | None, threads: int | None) -> Current:
    """One model for good."""
    from omnifuse.deploy.runtime import Runtime

    assert folder is not None
    runtime = Runtime(folder, threads=threads)
    return lambda: (runtime, "")


@contextlib.contextmanager
def _following(
    registry: str, cache: Path, trust: list[Path], poll_s: float, threads: int | None, box: str | None
) -> Iterator[Current]:
    """What the registry says that this box answers with, while a thread follows it; its log goes to stderr."""
    from omnifuse.deploy.runtime import Runtime
    from omnifuse.serve.followed_models import FollowedModels
    from omnifuse.serve.logs import log_to_stderr
    from omnifuse.serve.model_answerer import ModelAnswerer

    log_to_stderr()
    key, stop = box or platform.node(), threading.Event()

    def load(folder: Path) -> ModelAnswerer:
        return ModelAnswerer(Runtime(folder, threads=threads))

    with FollowedModels(registry, cache, load, trust=trust) as models:
        models.start()

        def current() -> tuple[Runtime, str]:
            version = models.lineup.of(lambda: key)
            assert isinstance(version.answerer, ModelAnswerer)
            assert isinstance(version.answerer.model, Runtime)
            return version.answerer.model, version.name

        thread = threading.Thread(target=models.follow, args=(stop,), kwargs={"every_s": poll_s}, daemon=True)
        thread.start()
        try:
            yield current
        finally:
            stop.set()
            thread.join(5.0)


def _answers(
    current: Current,
    source: str,
    column: str,
    window_s: float,
    every_s: float,
    rates: dict[str, str],
    proba: bool,
    media_root: Path | None,
) -> Iterator[dict[str, Any]]:
    from omnifuse.deploy.edge import answer_folder, answer_lines, answer_recording

    path = Path(source)
    if source != "-" and path.is_dir():
        return answer_folder(current, path, proba=proba, column=column)
    if source != "-" and not path.is_file():
        raise InputError(f"'{source}' is no file and no folder", fix="Give one, or - for JSON lines on stdin")
    if source != "-" and path.suffix.lower() not in (".jsonl", ".ndjson"):
        return answer_recording(current, path, proba=proba, window_s=window_s, every_s=every_s, column=column)
    if not all(text.isdigit() for text in rates.values()):
        raise InputError("a rate is no whole number", fix="Write for example --rate sound=16000")
    hertz = {name: int(text) for name, text in rates.items()}
    lines: Iterable[str] = sys.stdin if source == "-" else path.open(encoding="utf-8", errors="replace")
    return answer_lines(current, lines, proba=proba, window_s=window_s, rates_hz=hertz, media_root=media_root)
