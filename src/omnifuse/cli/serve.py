"""`omnifuse serve`: a trained model behind HTTP and WebSocket."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from omnifuse.cli.options import print_json
from omnifuse.errors import MissingDependencyError

if TYPE_CHECKING:
    from omnifuse.serve.answerer import Answerer
    from omnifuse.serve.guard import Gate

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client")
# Not the working directory: what lies there is no part of omnifuse
_WORKER = (sys.executable, "-P", "-c", "from omnifuse.cli.main import run; run()", "serve")


def need_serving(*, graphs: bool = False) -> None:
    """Stop where what serving needs is not installed.

    Args:
        graphs: Whether the graphs answer, which need no PyTorch.

    Raises:
        MissingDependencyError: It names the line to type.
    """
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        raise MissingDependencyError(
            f"serving needs {', '.join(absent)}",
            fix=f"Install with: pip install 'omnifuse[{'edge' if graphs else 'train'},serve]'",
        )
    if not graphs and find_spec("torch") is None:
        raise MissingDependencyError(
            "torch is not installed, which the model itself needs",
            fix="Give --graphs after `omnifuse export`, or install with: pip install 'omnifuse[train,serve]'",
        )


def serve(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    host: str = typer.Option("127.0.0.1", "--host", help="Address to listen at; any but this machine's needs a token."),
    port: int = typer.Option(8000, "--port", min=0, max=65535, help="0 takes a free one."),
    token_file: Path | None = typer.Option(
        None, "--token-file", metavar="FILE", help="Text file with the token that every request must bring."
    ),
    workers: int | None = typer.Option(
        None, "--workers", min=1, max=64, help="Threads that read and decode requests; a core each by default."
    ),
    allow_host: list[str] | None = typer.Option(
        None, "--allow-host", metavar="NAME", help="Name by which the server is called; repeat for several."
    ),
    graphs: bool = typer.Option(
        False, "--graphs", help="Answer with the graphs of `omnifuse export`, without PyTorch."
    ),
    as_json: bool = typer.Option(False, "--json", help="Address and model as one JSON document on stdout."),
    listen_fd: int | None = typer.Option(None, "--listen-fd", hidden=True),
    beat_fd: int | None = typer.Option(None, "--beat-fd", hidden=True),
) -> None:
    """Answer requests with the model in DIR, until a signal ends it; a new version in DIR is taken up."""
    need_serving(graphs=graphs)
    from omnifuse.deploy.artefact import find_model_folder
    from omnifuse.serve.guard import Gate
    from omnifuse.serve.logs import log_to_stderr
    from omnifuse.serve.server import bind, check_bind, read_token, url_of

    token = read_token(token_file)
    check_bind(host, token)
    folder = find_model_folder(model_folder)
    count = workers or min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, 8)
    listening = bind(host, port) if listen_fd is None else socket.socket(fileno=listen_fd)

    def say(model_id: str) -> None:
        url = url_of(listening)
        if as_json:
            print_json({"url": url, "model_id": model_id, "token": token is not None})
        else:
            typer.echo(f"model {model_id} answers at {url}  (Ctrl-C ends)")
        sys.stdout.flush()

    with listening:
        log_to_stderr()
        if beat_fd is not None or os.name != "posix":
            gate = Gate.of(host, token, allow_host or ())
            _serve(lambda: _answerer(folder, graphs), folder, listening, gate, count, beat_fd, say)
            return
        from omnifuse.serve.supervisor import Supervisor

        listening.listen(512)
        options = ["--host", host, "--workers", str(count), "--listen-fd", str(listening.fileno())]
        options += ["--token-file", str(token_file)] if token_file is not None else []
        options += ["--graphs"] if graphs else []
        options += [word for name in allow_host or () for word in ("--allow-host", name)]
        # The supervisor appends the number of its pipe
        command = [*_WORKER, str(folder), *options, "--beat-fd"]
        code = Supervisor(command, [listening.fileno()], say).run()
    if code:
        raise typer.Exit(code)


def _answerer(folder: Path, graphs: bool) -> Answerer:
    """What answers: the model, or its graphs."""
    from omnifuse.serve.model_answerer import ModelAnswerer

    if graphs:
        from omnifuse.deploy.runtime import Runtime

        return ModelAnswerer(Runtime(folder))
    from omnifuse.api import load

    return ModelAnswerer(load(folder))


def _serve(
    load: Callable[[], Answerer],
    folder: Path,
    listening: socket.socket,
    gate: Gate,
    count: int,
    beat_fd: int | None,
    say: Callable[[str], None],
) -> None:
    """Load the model and serve: in the worker, and where there is none."""
    import asyncio

    from omnifuse.serve.app import Server, guarded
    from omnifuse.serve.limits import ServeLimits
    from omnifuse.serve.metrics import Metrics
    from omnifuse.serve.reload import Reloader
    from omnifuse.serve.server import run_server
    from omnifuse.serve.service import Service
    from omnifuse.serve.supervisor import beat

    limits, metrics = ServeLimits(), Metrics()
    service = Service(load(), limits, metrics, num_workers=count)
    reloader = Reloader(service, folder, load)
    beating: list[asyncio.Task[None]] = []

    def started() -> None:
        if beat_fd is None:
            say(service.version.model_id)
        else:
            beating.append(asyncio.get_running_loop().create_task(beat(beat_fd, service)))

    run_server(guarded(Server(service, metrics, gate, reloader)), limits, listening, started)
