"""In front of every route: who may ask, from where, with which headers; and one line and one count for each request."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from omnifuse.serve.answers import to_bytes
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.logs import event
from omnifuse.serve.request_error import RequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
OPEN_ROUTE = "/health/live"
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
                                 b"media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                                 b"frame-ancestors 'none'"),
)  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """Who may ask.

    Attributes:
        token: Asked of every request but that for life; None asks for none.
        names: Host names by which the server is called; addresses in digits are never another site's, and always right.
    """

    token: str | None = None
    names: frozenset[str] = frozenset(("localhost",))

    @classmethod
    def of(cls, host: str, token: str | None = None, names: Iterable[str] = ()) -> Gate:
        """The gate of a server that is bound to `host` and called by further names."""
        own = {"localhost", host.lower(), socket.gethostname().lower(), *(name.lower() for name in names)}
        return cls(token, frozenset(own))

    def check(self, headers: dict[str, str], path: str, method: str) -> None:
        """Let a request in.

        Raises:
            RequestError: 403 for a wrong Host or a foreign Origin, 401 without the token.
        """
        host = headers.get("host", "")
        name = host_name(host)
        if name is None or not (_is_address(name) or name in self.names):
            # A page of another site whose name was pointed at this address
            raise RequestError(403, "the Host header is not a name of this server", fix="Start it with --allow-host")
        if not _is_same_origin(headers, host, method):
            raise RequestError(403, "requests from pages of other sites are refused")
        if self.token is not None and path != OPEN_ROUTE and not self._knows(headers.get("authorization", "")):
            error = RequestError(401, "the token is absent or wrong", fix="Send the header Authorization: Bearer TOKEN")
            # Browsers ask their user for the token, as the password of any user
            error.headers["www-authenticate"] = 'Basic realm="omnifuse", charset="UTF-8"' if path == "/" else "Bearer"
            raise error

    def _knows(self, given: str) -> bool:
        kind, _, value = given.partition(" ")
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, ValueError):
                value = ""
        elif kind.lower() != "bearer":
            value = ""
        # In constant time, over bytes of one length
        return hmac.compare_digest(_digest(value.strip()), _digest(self.token or ""))


def _digest(text: str) -> bytes:
    return hmac.digest(b"omnifuse", text.encode("utf-8", "replace"), "sha256")


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port; None where it is none.

    Example:
        >>> host_name("LocalHost:8000"), host_name("[::1]:80"), host_name("a@b"), host_name("")
        ('localhost', '::1', None, None)
    """
    if not host or len(host) > 300 or any(mark in host for mark in "@/\\?# \t"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return (parts.hostname or "").rstrip(".") or None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same_origin(headers: dict[str, str], host: str, method: str) -> bool:
    origin = headers.get("origin")
    if origin is not None:
        parts = origin.partition("://")
        return parts[0] in ("http", "https") and parts[2].lower() == host.lower()
    return method in ("GET", "HEAD") or headers.get("sec-fetch-site", "none") in ("none", "same-origin")


def read_headers(raw: Collection[tuple[bytes, bytes]], limits: ServeLimits) -> dict[str, str]:
    """Header name in small letters to value.

    Raises:
        RequestError: 431 for too many or too long ones, 400 where one that decides stands twice.
    """
    if len(raw) > limits.max_headers or sum(len(name) + len(value) for name, value in raw) > limits.max_header_bytes:
        raise RequestError(431, "the headers are too many or too long")
    headers: dict[str, str] = {}
    for key, value in raw:
        name = key.decode("latin-1").lower()
        if name in headers and name in ("host", "origin", "authorization", "content-length", "content-type"):
            raise RequestError(400, f"the header {name} stands twice")
        headers[name] = value.decode("latin-1")
    return headers


class Guard:
    """ASGI application around another.

    Args:
        app: The routes.
        gate: Who may ask.
        limits: Of headers.
        routes: Paths that are counted by name; all others count as "other".
        count: Hears route, status and seconds of each request.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        *,
        gate: Gate,
        limits: ServeLimits,
        routes: Collection[str],
        count: Callable[[str, int, float], None],
    ) -> None:
        self._app, self._gate, self._limits = app, gate, limits
        self._routes, self._count = frozenset(routes), count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 0
        is_socket = scope["type"] == "websocket"

        async def counted(message: Any) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *_SECURITY]}
            elif message["type"] in ("websocket.accept", "websocket.close"):
                status = status or (101 if message["type"] == "websocket.accept" else 403)
            await send(message)

        try:
            try:
                headers = read_headers(scope["headers"], self._limits)
                self._gate.check(headers, scope["path"], "WEBSOCKET" if is_socket else scope["method"])
            except RequestError as error:
                await refuse(scope, receive, counted, error)
                return
            await self._app(scope, receive, counted)
        finally:
            route = scope["path"] if scope["path"] in self._routes else "other"
            seconds = time.monotonic() - start
            self._count(route, status or 499, seconds)
            event("request", route=route, status=status or 499, ms=round(seconds * 1e3, 2))


async def refuse(scope: Scope, receive: Receive, send: Send, error: RequestError) -> None:
    """Answer a request, or the opening of a socket, with an error."""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": error.what[:100]})
            return
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = to_bytes({"error": str(error)})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in error.headers.items()]
    await send({"type": f"{kind}.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
