"""A server on a free port with an answerer that is no network, and clients for it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from omnifuse.data.media import MediaDoor
from omnifuse.errors import InputError, MediaError
from omnifuse.schema import Field, Modality, Prediction, Schema, Target, TargetPrediction, TaskKind
from omnifuse.serve.example import example_row
from omnifuse.serve.limits import ServeLimits

SCHEMA = Schema(
    fields=(
        Field("note", Modality.TEXT),
        Field("size", Modality.NUMBER),
        Field("photo", Modality.IMAGE),
        Field("sound", Modality.AUDIO),
        Field("pulse", Modality.SERIES),
        Field("clip", Modality.VIDEO),
    ),
    targets=(Target("kind", TaskKind.CLASSIFICATION, ("blue", "red")),),
    ids=("key",),
    dropped={"old": "constant"},
)
TOKEN = "a-token-of-some-length-0123456789"


@dataclass(frozen=True)
class Row:
    """What the fake makes of a row."""

    cells: dict[str, Any]
    row_id: str | int
    warnings: tuple[str, ...] = ()


@dataclass
class FakeAnswerer:
    """Answers "red" where the note says so; some notes make it fail, wait or answer nonsense."""

    model_id: str = "fake00000001"
    schema: Schema = SCHEMA
    gate: threading.Event | None = None
    delay_s: float = 0.0
    batches: list[int] = field(default_factory=list)
    decoded: list[dict[str, Any]] = field(default_factory=list)

    def example(self) -> dict[str, Any]:
        return example_row(self.schema)

    def values(self) -> dict[str, tuple[str, ...]]:
        return {"colour": ("green", "gold")} if any(item.name == "colour" for item in self.schema.fields) else {}

    def decode(self, rows: Sequence[dict[str, Any]], history: Any = None) -> list[Row]:
        if history is not None and self.schema.history is None:
            raise InputError("the model reads no history", fix="Leave the history out")
        door, found = MediaDoor(confined=True), []
        for number, row in enumerate(rows):
            self.decoded.append(row)
            if row.get("note") == "undecodable":
                raise RuntimeError("/home/secret at 0x7f00")
            warnings = []
            if row.get("photo") is not None:
                try:
                    door.image(row["photo"])
                except MediaError as error:
                    warnings.append(f"photo: {error}")
            found.append(Row(row, row.get("key") or number, tuple(warnings)))
        return found

    def answer(self, decoded: Sequence[Row]) -> list[Prediction]:
        self.batches.append(len(decoded))
        notes = [str(row.cells.get("note")) for row in decoded]
        if "gate" in notes and self.gate is not None:
            assert self.gate.wait(20)
        if "poison" in notes:
            raise ValueError("/home/secret at 0x7f00")
        time.sleep(self.delay_s * len(decoded))
        return [self._one(row, note) for row, note in zip(decoded, notes, strict=True)]

    def _one(self, row: Row, note: str) -> Prediction:
        red = float("nan") if note == "nan" else 0.9 if "red" in note else 0.2
        chances = {"blue": 1 - red, "red": red}
        best = "red" if red > 0.5 else "blue"
        answer = TargetPrediction(best, max(red, 1 - red), chances)
        used = tuple(name for name, cell in row.cells.items() if cell is not None)
        return Prediction(row.row_id, {"kind": answer}, used, row.warnings, model_id=self.model_id)

    def embed(self, decoded: Sequence[Row]) -> list[dict[str, list[float] | None]]:
        return [{"embedding": [1.0, 0.0], "embedding_photo": None} for _ in decoded]

    def explain(self, decoded: Sequence[Row], *, parts: bool) -> list[dict[str, Any]]:
        self.batches.append(len(decoded))
        shares = [{"field": "note", "effect": 1.5, "share": 1.0}]
        answer = {"target": "kind", "answer": "red", "shares": shares, "parts": {"note": {}} if parts else {}}
        return [{"row_id": row.row_id, "answers": [answer], "model_id": self.model_id} for row in decoded]


def picture(side: int = 8) -> bytes:
    """A PNG."""
    content = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A server that runs in a thread."""

    port: int
    app: Any
    server: Any
    answerer: Any

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 10
    ) -> Answer:
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def predict(self, *rows: Any, **more: Any) -> Answer:
        return self.send("POST", "/predict", {"rows": list(rows), **more})

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.send("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def metric_labels(self, name: str) -> list[str]:
        """The labels under which a metric stands."""
        lines = self.send("GET", "/metrics").body.decode().splitlines()
        return [line.rsplit(" ", 1)[0] for line in lines if line.split("{")[0] == name]


@contextlib.contextmanager
def running(
    answerer: Any = None, *, token: str | None = None, num_workers: int = 2, reloader: Any = None, **limits: Any
) -> Iterator[Running]:
    """A server of the fake, with some limits changed."""
    from omnifuse.serve.app import Server, guarded
    from omnifuse.serve.guard import Gate
    from omnifuse.serve.metrics import Metrics
    from omnifuse.serve.server import bind, make_server
    from omnifuse.serve.service import Service

    answerer = FakeAnswerer() if answerer is None else answerer
    bounds, metrics = replace(ServeLimits(shutdown_s=1.0), **limits), Metrics()
    service = Service(answerer, bounds, metrics, num_workers=num_workers)
    app = Server(service, metrics, Gate.of("127.0.0.1", token), reloader(service) if reloader else None)
    listening = bind("127.0.0.1", 0)
    server = make_server(guarded(app), bounds)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started
    if isinstance(answerer, FakeAnswerer):
        answerer.batches.clear()
        answerer.decoded.clear()
    try:
        yield Running(listening.getsockname()[1], app, server, answerer)
    finally:
        server.should_exit = True
        thread.join(15)
        listening.close()
        assert not thread.is_alive()


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
