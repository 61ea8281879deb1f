"""A registry behind a web server: read only, without redirects, each answer bounded in size and in time.

Plain `http.client` and not a browser's manners: no redirect is followed, no cookie kept, no proxy asked, no
compression accepted, so that what comes is bounded by what was asked. The certificate of `https` is checked.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, quote

from omnifuse.deploy.locations import BLOCK_BYTES, AbsentError, Fetched, TooLargeError
from omnifuse.errors import InputError

# A file may take its timeout and a second for so many bytes of it: a server that drips is left
LEAST_BYTES_A_SECOND = 32 * 1024
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')
_AGAIN = "Look whether the server is up, and try again"


class HttpFolder:
    """A folder behind a web server.

    Args:
        address: Parts of its URL, without user, query and fragment.
        timeout_s: Longest wait for an answer, in seconds.
    """

    local = False

    def __init__(self, address: SplitResult, *, timeout_s: float = 30.0) -> None:
        self.name = address.geturl()
        self._address = address
        self._timeout_s = timeout_s

    def read(self, name: str, *, most: int, tag: str = "") -> Fetched | None:
        """As `Folder.read`; the tag is the ETag."""
        with self._answer(name, tag=tag, most=most) as answer:
            if answer.status == http.client.NOT_MODIFIED:
                return None
            content = b"".join(self._bounded(answer, name, most))
            found = answer.getheader("ETag") or ""
        return Fetched(content, found if _TAG.fullmatch(found) else "")

    def blocks(self, name: str, *, most: int) -> Iterator[bytes]:
        """As `Folder.blocks`."""
        with self._answer(name, tag="", most=most) as answer:
            yield from self._bounded(answer, name, most)

    def names(self, under: str) -> None:
        """A web server does not list."""

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    @contextmanager
    def _answer(self, name: str, *, tag: str, most: int) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET; whatever goes wrong, also while it is read, becomes one line."""
        connection = self._connection()
        deadline = _Deadline(self._timeout_s + most / LEAST_BYTES_A_SECOND)
        answer = None
        try:
            connection.connect()
            deadline.start(connection.sock)
            headers = {"Accept-Encoding": "identity", "Connection": "close"}
            if tag:
                headers["If-None-Match"] = tag
            path = f"{self._address.path.rstrip('/')}/{quote(name)}"
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            deadline.check()  # headers that were cut short look like headers that ended
            self._check(answer, name, asked_with_tag=bool(tag))
            yield answer
            deadline.check()
        except (OSError, http.client.HTTPException) as error:
            late = deadline.passed or isinstance(error, TimeoutError)
            reason = f"it took longer than {deadline.seconds:.0f} s" if deadline.passed else _reason(error)
            raise InputError(
                f"'{name}' of the registry cannot be fetched ({reason})", where=self.name,
                fix="Give a longer timeout, or look at the server" if late else _AGAIN,
            ) from None  # fmt: skip
        finally:
            deadline.stop()
            connection.close()
            if answer is not None:
                answer.close()

    def _check(self, answer: http.client.HTTPResponse, name: str, *, asked_with_tag: bool) -> None:
        status = answer.status
        if status == http.client.NOT_MODIFIED and asked_with_tag:
            return
        if status in (http.client.NOT_FOUND, http.client.GONE):
            raise AbsentError(f"'{name}' of the registry is absent (status {status})", where=self.name, fix=_AGAIN)
        if 300 <= status < 400:
            raise InputError(
                f"the server sends '{name}' of the registry to another place, which is not followed", where=self.name,
                fix="Give the address it moved to",
            )  # fmt: skip
        if status != http.client.OK:
            raise InputError(f"the server answers status {status} for '{name}' of the registry", where=self.name,
                             fix=_AGAIN)  # fmt: skip
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise InputError(
                f"the server packs '{name}' of the registry though it was not asked to",
                where=self.name,
                fix="Switch compression off for these files",
            )
        if answer.length is None and not answer.chunked:
            raise InputError(
                f"the server does not say how long '{name}' of the registry is",
                where=self.name,
                fix="Take a server that sends Content-Length",
            )

    def _bounded(self, answer: http.client.HTTPResponse, name: str, most: int) -> Iterator[bytes]:
        """The body as it arrives: too much, or less than was announced, is an error."""
        if answer.length is not None and answer.length > most:
            raise TooLargeError(name, most)
        left = most
        while block := answer.read1(BLOCK_BYTES):
            left -= len(block)
            if left < 0:
                raise TooLargeError(name, most)
            yield block
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)


class _Deadline:
    """Ends a connection when its time is over, whatever it is waiting for."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._timer: threading.Timer | None = None

    def start(self, connected: socket.socket) -> None:
        self._timer = threading.Timer(self.seconds, self._end, [connected])
        self._timer.daemon = True
        self._timer.start()

    def _end(self, connected: socket.socket) -> None:
        self.passed = True
        with suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)  # below TLS, whose own words would wait for an answer

    def check(self) -> None:
        if self.passed:
            raise TimeoutError

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected | ConnectionResetError):
        return "the connection ended too early"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "no such host"
    return (error.strerror if isinstance(error, OSError) and error.strerror else "") or type(error).__name__
