"""`omnifuse serve`: a trained model behind HTTP and WebSocket."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import typer

from omnifuse.cli.options import print_json
from omnifuse.errors import InputError, MissingDependencyError

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client")


def need_serving() -> None:
    """Stop where the extra is not installed.

    Raises:
        MissingDependencyError: It names the line to type.
    """
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        raise MissingDependencyError(
            f"serving needs {', '.join(absent)}", fix="Install with: pip install 'omnifuse[train,serve]'"
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
    as_json: bool = typer.Option(False, "--json", help="Address and model as one JSON document on stdout."),
) -> None:
    """Answer requests with the model in DIR, until a signal ends it; a new version in DIR is taken up."""
    need_serving()
    from omnifuse.deploy.artefact import find_model_folder
    from omnifuse.serve.app import Server, guarded
    from omnifuse.serve.guard import Gate
    from omnifuse.serve.limits import ServeLimits
    from omnifuse.serve.logs import log_to_stderr
    from omnifuse.serve.metrics import Metrics
    from omnifuse.serve.reload import Reloader
    from omnifuse.serve.server import bind, check_bind, read_token, run_server, url_of
    from omnifuse.serve.service import Service

    token = read_token(token_file)
    check_bind(host, token)
    folder = find_model_folder(model_folder)
    listening = bind(host, port)
    try:
        from omnifuse.api import load
        from omnifuse.serve.model_answerer import ModelAnswerer

        limits, metrics = ServeLimits(), Metrics()
        log_to_stderr()
        answerer = ModelAnswerer(load(folder))
        count = workers or min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, 8)
        service = Service(answerer, limits, metrics, num_workers=count)
        reloader = Reloader(service, folder, lambda: ModelAnswerer(load(folder)))
        app = guarded(Server(service, metrics, Gate.of(host, token, allow_host or ()), reloader))

        def say() -> None:
            url = url_of(listening)
            if as_json:
                print_json({"url": url, "model_id": answerer.model_id, "token": token is not None})
            else:
                typer.echo(f"model {answerer.model_id} answers at {url}  (Ctrl-C ends)")

        run_server(app, limits, listening, say)
    except OSError as error:
        raise InputError(f"the server cannot run ({error.strerror})", fix="Give another --host or --port") from None
    finally:
        listening.close()
