"""Registries for tests: small model folders, keys, a real web server that can misbehave, and changes by an attacker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.deploy.artefact import Artefact, save_artefact
from omnifuse.deploy.registry import Registry


def make_model(folder: Path, value: int = 0) -> Path:
    """A model folder of a few hundred bytes that differs by `value`."""
    manifest = {"schema": {}, "value": value, "preprocessors": {"note": {"kind": "text", "tokenizer": "{}"}}}
    save_artefact(folder, Artefact(manifest, {"a.weight": np.full((2, 3), value, np.float32)}, f"# card {value}"))
    return folder


@dataclass
class Signed:
    """A signed registry with versions v1 (in production), v2 and v3, and its keys."""

    home: Path
    key: Path
    trust: Path

    def registry(self) -> Registry:
        return Registry(self.home, sign=self.key, by="tester")


def make_signed(folder: Path, versions: int = 3) -> Signed:
    """Lay a signed registry out."""
    from omnifuse.deploy.signing import generate_keys

    place = Signed(folder / "registry", folder / "key", folder / "key.pub")
    generate_keys(place.key)
    for number in range(1, versions + 1):
        place.registry().add(make_model(folder / f"model{number}", number), name=f"v{number}")
    place.registry().promote("v1", "production")
    return place


def make_unsigned(folder: Path, versions: int = 3) -> Registry:
    """Lay an unsigned registry out."""
    registry = Registry(folder / "registry", by="tester")
    for number in range(1, versions + 1):
        registry.add(make_model(folder / f"model{number}", number), name=f"v{number}")
    registry.promote("v1", "production")
    return registry


@dataclass
class Web:
    """What a test knows of its server and tells it to do."""

    url: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)
    # Path ending to what is done instead of answering well
    faults: dict[str, Any] = field(default_factory=dict)


class _Handler(SimpleHTTPRequestHandler):
    """Files with ETags; faults as the test orders them."""

    def __init__(self, *arguments: Any, web: Web, **options: Any) -> None:
        self.web = web
        super().__init__(*arguments, **options)

    def log_message(self, *arguments: Any) -> None:
        """Be silent."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.web.asked.append((self.path, status))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        for end, fault in self.web.faults.items():
            if self.path.endswith(end):
                fault(self)
                return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.answer(404)
            return
        body = path.read_bytes()
        tag = f'"{hash(body)}"'
        if self.headers.get("If-None-Match") == tag:
            self.answer(304)
        else:
            self.answer(200, body, ETag=tag)


@contextmanager
def serving(folder: Path) -> Iterator[Web]:
    """A web server of a folder on 127.0.0.1."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, web=web, directory=str(folder)))
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def edited(path: Path, change: Any) -> None:
    """Change a JSON file as somebody would who has no key."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
