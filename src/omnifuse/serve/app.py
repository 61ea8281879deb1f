"""The routes, and the ASGI application that they make with the guard before them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from starlette.exceptions import HTTPException

from omnifuse.serve import page
from omnifuse.serve.answers import to_bytes
from omnifuse.serve.body import BodyReader, DisconnectedError, unless_gone
from omnifuse.serve.columns import Columns
from omnifuse.serve.guard import Gate, Guard
from omnifuse.serve.json_body import parse_json
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.logs import event
from omnifuse.serve.metrics import CONTENT_TYPE, Metrics
from omnifuse.serve.openapi import example_question, openapi
from omnifuse.serve.question import Question, parse_question
from omnifuse.serve.reload import Reloads
from omnifuse.serve.request_error import RequestError
from omnifuse.serve.service import Read, Service
from omnifuse.serve.stream import Stream, read_setting
from omnifuse.serve.versions import Key

STREAM = "/stream"
# Chooses the version of a registry that answers: the same customer or device always gets the same one
KEY_HEADER = "omnifuse-key"
# Of a category, in the description of the model
MOST_VALUES = 1000
_BUG = "the server has a defect; its log says more"


def _json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_bytes(data), status, headers, media_type="application/json")


class Server:
    """The application's state: the service, the metrics, and what is open.

    Args:
        service: Answers.
        metrics: Of this server.
        gate: Who may ask.
        reloader: Looks for new versions of the model, or None.
    """

    def __init__(self, service: Service, metrics: Metrics, gate: Gate, reloader: Reloads | None = None) -> None:
        self.service, self.metrics, self.gate, self.reloader = service, metrics, gate, reloader
        self.bodies = BodyReader(service.limits)
        self.num_streams = 0
        metrics.watch(
            queue=lambda: service.batcher.num_waiting,
            bodies=lambda: self.bodies.num_bytes,
            streams=lambda: self.num_streams,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """From the first to the last request."""
        await self.service.start()
        looking = None if self.reloader is None else asyncio.create_task(self.reloader.run())
        event("started", model_id=self.service.version.model_id)
        try:
            yield
        finally:
            if looking is not None:
                looking.cancel()
            await self.service.close()
            event("ended")

    async def _asked(
        self, request: Request, work: Callable[[Read, Key], Awaitable[Any]], name: str, **asked: bool
    ) -> Response:
        """Read the body and answer it; nothing is done for a client that has gone."""
        try:
            async with self.bodies.read(request.headers, request.receive) as body:
                kind = request.headers.get("content-type", "")

                def read(columns: Columns, limits: ServeLimits) -> Question:
                    return parse_question(body, kind, columns, limits, **asked)

                def key() -> str:
                    # The same question is answered by the same version
                    return request.headers.get(KEY_HEADER) or hashlib.sha256(body).hexdigest()

                return _json({name: await unless_gone(request.receive, work(read, key))})
        except DisconnectedError:
            self.metrics.error("gone")
            return Response(status_code=499)

    async def predict(self, request: Request) -> Response:
        """POST /predict."""
        return await self._asked(request, self.service.predict, "predictions")

    async def embed(self, request: Request) -> Response:
        """POST /embed."""
        return await self._asked(request, self.service.embed, "embeddings")

    async def explain(self, request: Request) -> Response:
        """POST /explain."""
        return await self._asked(request, self.service.explain, "explanations", explained=True)

    async def schema(self, request: Request) -> Response:
        """GET /schema."""
        version = self.service.version
        schema, values = version.answerer.schema, version.answerer.values()
        return _json(
            {
                **version.labels,
                "fields": [
                    {
                        "name": name,
                        "modality": item.value,
                        **({"values": list(values[name][:MOST_VALUES])} if name in values else {}),
                    }
                    for name, item in version.columns.fields.items()
                ],
                "targets": [
                    {"name": item.name, "task": item.kind.value, "classes": list(item.classes)}
                    for item in schema.targets
                ],
                "roles": list(version.columns.roles),
                "history": None if schema.history is None else schema.history.window,
                "example": example_question(version),
            }
        )

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return _json(openapi(self.service.version, self.service.limits, with_token=self.gate.token is not None))

    async def live(self, request: Request) -> Response:
        """GET /health/live."""
        stuck = self.service.batcher.stuck_s() > self.service.limits.stuck_s
        return _json({"status": "stuck" if stuck else "ok"}, 503 if stuck else 200)

    async def ready(self, request: Request) -> Response:
        """GET /health/ready."""
        health = self.service.health()
        return _json({"status": health, **self.service.version.labels}, 200 if health == "ok" else 503)

    async def measured(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.page(), media_type=CONTENT_TYPE)

    async def stream(self, socket: WebSocket) -> None:
        """WebSocket /stream."""
        limits = self.service.limits
        if self.num_streams >= limits.max_streams or not self.service.is_ready:
            await socket.close(1013, "too many streams: try again later")
            return
        self.num_streams += 1
        await socket.accept()
        try:
            await self._streamed(socket, limits)
        except (WebSocketDisconnect, DisconnectedError):
            pass
        except RequestError as error:
            await socket.close(1008, error.what[:100])
        except TimeoutError:
            await socket.close(1008, f"nothing came for {limits.stream_idle_s:g} s")
        finally:
            self.num_streams -= 1

    async def _streamed(self, socket: WebSocket, limits: ServeLimits) -> None:
        async def say(data: dict[str, Any]) -> None:
            await socket.send_text(to_bytes(data).decode())

        try:
            first = await asyncio.wait_for(_text(socket), limits.stream_idle_s)
            setting = read_setting(parse_json(first.encode("utf-8", "surrogatepass"), limits), limits)
        except RequestError as error:
            await say({"error": str(error)})
            await socket.close(1008)
            return
        drawn = socket.headers.get(KEY_HEADER) or secrets.token_hex(8)
        stream = Stream(self.service, say, setting, lambda: drawn)
        await say({"ready": True, **self.service.lineup.of(lambda: drawn).labels})
        try:
            while True:
                message = await asyncio.wait_for(_text(socket), limits.stream_idle_s)
                await stream.take(message)
        finally:
            await stream.close()

    def refused(self, error: RequestError) -> Response:
        """The response to a request that is refused."""
        if error.status == 503:
            self.metrics.error("overload")
        return _json({"error": str(error)}, error.status, error.headers)

    def broken(self, error: Exception) -> Response:
        """The response to a defect of ours: without a word of what it is."""
        self.metrics.error("bug")
        event("bug", level=logging.ERROR, error=error)
        return _json({"error": _BUG}, 500)


async def _text(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text = message.get("text")
    if text is None:
        raise RequestError(422, "a binary message is not read", fix="Send JSON as text")
    return str(text)


def routes_of(server: Server) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
    """Method, path and answer of every route over HTTP."""
    files = [("GET", path, partial(page.send, path)) for path in page.FILES]
    return [
        ("POST", "/predict", server.predict),
        ("POST", "/embed", server.embed),
        ("POST", "/explain", server.explain),
        ("GET", "/schema", server.schema),
        ("GET", "/openapi.json", server.openapi),
        ("GET", "/health/live", server.live),
        ("GET", "/health/ready", server.ready),
        ("GET", "/metrics", server.measured),
        *files,
    ]


def make_app(server: Server) -> FastAPI:
    """The routes; `guarded` puts the guard before them."""
    app = FastAPI(
        title="omnifuse", openapi_url=None, docs_url=None, redoc_url=None, lifespan=server.lifespan,
        redirect_slashes=False,
    )  # fmt: skip

    async def no_route(_: Request, error: Any) -> Response:
        words = {404: "there is no such route", 405: "the route has another method"}.get(error.status_code, "refused")
        return _json({"error": f"{words}."}, error.status_code, dict(error.headers or {}))

    app.add_exception_handler(HTTPException, no_route)
    for method, path, answer in routes_of(server):
        app.router.add_route(path, _caught(answer, server), methods=[method])
    app.router.add_websocket_route(STREAM, server.stream)
    return app


def _caught(
    answer: Callable[[Request], Awaitable[Response]], server: Server
) -> Callable[[Request], Awaitable[Response]]:
    """The answer of a route, or what its client is told in the place of a traceback."""

    async def caught(request: Request) -> Response:
        try:
            return await answer(request)
        except RequestError as error:
            return server.refused(error)
        except Exception as error:
            return server.broken(error)

    return caught


def guarded(server: Server) -> Guard:
    """The whole ASGI application."""
    routes = [path for _, path, _ in routes_of(server)]
    return Guard(
        make_app(server),
        gate=server.gate,
        limits=server.service.limits,
        routes=[*routes, STREAM],
        count=server.metrics.request,
    )
