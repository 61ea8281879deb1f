"""`omnifuse serve`: a trained model behind HTTP and WebSocket."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from omnifuse.cli.following import CACHE, POLL, REGISTRY, TRUST, cache_of, check_followed
from omnifuse.cli.options import print_json
from omnifuse.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from omnifuse.serve.answerer import Answerer
    from omnifuse.serve.guard import Gate
    from omnifuse.serve.limits import ServeLimits
    from omnifuse.serve.metrics import Metrics
    from omnifuse.serve.reload import Reloads
    from omnifuse.serve.service import Service

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client")
# Makes the service, and what keeps its models up to date
_Make = Callable[["ServeLimits", "Metrics"], "tuple[Service, Reloads]"]
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
    model_folder: Path | None = typer.Argument(None, metavar="DIR", help="Run folder or model folder."),
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
    registry: str | None = REGISTRY,
    trust: list[Path] | None = TRUST,
    poll: float = POLL,
    cache: Path | None = CACHE,
    as_json: bool = typer.Option(False, "--json", help="Address and model as one JSON document on stdout."),
    listen_fd: int | None = typer.Option(None, "--listen-fd", hidden=True),
    beat_fd: int | None = typer.Option(None, "--beat-fd", hidden=True),
) -> None:
    """Answer requests with the model in DIR, until a signal ends it; a new version in DIR is taken up.

    With --registry PLACE the versions that it puts into production and on trial answer.
    """
    if (model_folder is None) == (registry is None):
        raise InputError("a server needs one model folder or one registry", fix="Give DIR or --registry PLACE")
    check_followed(registry, trust, cache)
    need_serving(graphs=graphs)
    from omnifuse.deploy.artefact import find_model_folder
    from omnifuse.serve.guard import Gate
    from omnifuse.serve.logs import log_to_stderr
    from omnifuse.serve.server import bind, check_bind, read_token, url_of

    token = read_token(token_file)
    check_bind(host, token)
    make: _Make
    if registry is None:
        assert model_folder is not None
        source = [str(find_model_folder(model_folder))]
        make = partial(_of_folder, folder=Path(source[0]), graphs=graphs)
    else:
        cache = cache_of(registry, cache)
        source = ["--registry", registry, "--cache", str(cache), "--poll", str(poll)]
        source += [word for key in trust or () for word in ("--trust", str(key))]
        make = partial(_of_registry, registry=registry, cache=cache, trust=trust or [], poll=poll, graphs=graphs)
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
            _serve(partial(make, count=count), listening, gate, beat_fd, say)
            return
        from omnifuse.serve.supervisor import Supervisor

        listening.listen(512)
        options = ["--host", host, "--workers", str(count), "--listen-fd", str(listening.fileno())]
        options += ["--token-file", str(token_file)] if token_file is not None else []
        options += ["--graphs"] if graphs else []
        options += [word for name in allow_host or () for word in ("--allow-host", name)]
        # The supervisor appends the number of its pipe
        command = [*_WORKER, *source, *options, "--beat-fd"]
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


def _of_folder(
    limits: ServeLimits, metrics: Metrics, *, folder: Path, graphs: bool, count: int
) -> tuple[Service, Reloads]:
    from omnifuse.serve.reload import Reloader
    from omnifuse.serve.service import Service

    load = partial(_answerer, folder, graphs)
    service = Service(load(), limits, metrics, num_workers=count)
    return service, Reloader(service, folder, load)


def _of_registry(
    limits: ServeLimits,
    metrics: Metrics,
    *,
    registry: str,
    cache: Path,
    trust: list[Path],
    poll: float,
    graphs: bool,
    count: int,
) -> tuple[Service, Reloads]:
    from omnifuse.serve.followed_models import FollowedModels
    from omnifuse.serve.reload import RegistryReloader
    from omnifuse.serve.service import Service

    models = FollowedModels(registry, cache, partial(_answerer, graphs=graphs), trust=trust, limits=limits)
    service = Service(models.start(), limits, metrics, num_workers=count)
    return service, RegistryReloader(service, models, poll)


def _serve(make: _Make, listening: socket.socket, gate: Gate, beat_fd: int | None, say: Callable[[str], None]) -> None:
    """Load the model and serve: in the worker, and where there is none."""
    import asyncio

    from omnifuse.serve.app import Server, guarded
    from omnifuse.serve.limits import ServeLimits
    from omnifuse.serve.metrics import Metrics
    from omnifuse.serve.server import run_server
    from omnifuse.serve.supervisor import beat

    limits, metrics = ServeLimits(), Metrics()
    service, reloader = make(limits, metrics)
    beating: list[asyncio.Task[None]] = []

    def started() -> None:
        if beat_fd is None:
            say(service.version.model_id)
        else:
            beating.append(asyncio.get_running_loop().create_task(beat(beat_fd, service)))

    run_server(guarded(Server(service, metrics, gate, reloader)), limits, listening, started)
