"""From a folder to a listening server: the bind, the token, uvicorn with timeouts that it lacks, and a quiet end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from omnifuse.errors import InputError
from omnifuse.serve.guard import Guard
from omnifuse.serve.limits import ServeLimits

LEAST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path | None) -> str | None:
    """The token in a file, without the blanks around it.

    Raises:
        InputError: The file cannot be read, or holds no token of at least 16 printable letters without blanks.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as handle:
            token = handle.read(4097).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"the token file '{path}' cannot be read", fix="Give a text file with the token") from None
    if not LEAST_TOKEN <= len(token) <= 4000 or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"the token in '{path}' is not {LEAST_TOKEN} or more letters and digits",
            fix="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


def check_bind(host: str, token: str | None) -> None:
    """Refuse to be reached from outside without a token.

    Raises:
        InputError: The address is not this machine's own, and there is no token.
    """
    if token is None and not is_loopback(host):
        raise InputError(
            f"the server would answer anyone who reaches {host}",
            fix="Give --token-file FILE, or leave the address at 127.0.0.1",
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: The address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError):
        raise InputError(f"'{host}' is not an address", fix="Give --host 127.0.0.1") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise InputError(
            f"the server cannot listen at {host}, port {port} ({os.strerror(error.errno or 0)})",
            fix="Give another --port",
        ) from None
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a browser finds the server."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"


def timed_protocol(header_s: float) -> type[H11Protocol]:
    """uvicorn's protocol, which drops a connection whose headers do not come in time."""

    class TimedProtocol(H11Protocol):  # type: ignore[misc]
        _dropping: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._time_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop()

        def _time_headers(self) -> None:
            # Idle = the headers of a request are still to come; what was sent of them does not put the end off
            if self.conn.their_state is not h11.IDLE or self.transport.get_protocol() is not self:
                self._stop()
            elif self._dropping is None and not self.transport.is_closing():
                self._dropping = self.loop.call_later(header_s, self.transport.close)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._stop()

        def _stop(self) -> None:
            if self._dropping is not None:
                self._dropping.cancel()
                self._dropping = None

    return TimedProtocol


class QuietServer(uvicorn.Server):  # type: ignore[misc]
    """uvicorn's server, for which SIGTERM and Ctrl-C are the usual end and not raised again behind it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Both signals end the server while it runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_server(app: Guard, limits: ServeLimits) -> QuietServer:
    """A server that is to be run with a bound socket."""
    config = uvicorn.Config(
        app,
        http=timed_protocol(limits.header_s),
        ws="websockets-sansio",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.max_connections,
        h11_max_incomplete_event_size=limits.max_header_bytes,
        ws_max_size=limits.max_message_bytes,
        ws_max_queue=4,
        ws_per_message_deflate=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(limits.shutdown_s),
        backlog=512,
    )
    return QuietServer(config)


def run_server(app: Guard, limits: ServeLimits, listening: socket.socket, on_start: Callable[[], None]) -> None:
    """Serve until a signal comes; requests that are being answered are answered to their end.

    Raises:
        InputError: The model cannot answer its own example.
    """
    server = make_server(app, limits)

    async def run() -> None:
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            on_start()
        try:
            await serving
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    # Not asyncio.run: it would turn Ctrl-C into an exception in the midst of the end
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(run())
    if not server.started:
        raise InputError("the server did not start", fix="Its log above says why")
