"""T46 to T56: what strangers send to a server, and what it does when too much is asked."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi")
client = pytest.importorskip("websockets.sync.client")

import websockets  # noqa: E402
from tests.serving import TOKEN, FakeAnswerer, base64_of, picture, running, until  # noqa: E402

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def server():
    with running(max_body_bytes=1 << 20, body_s=1.5, header_s=1.5, max_json_keys=1000) as found:
        yield found


@pytest.fixture(autouse=True)
def _next_request_is_answered(request):
    """Whatever came before, the next good request is answered."""
    yield
    if "server" in request.fixturenames:
        found = request.getfixturevalue("server").predict({"note": "red"})
        assert found.json["predictions"][0]["targets"]["kind"]["value"] == "red"


def rss_mb():
    with open("/proc/self/statm") as handle:
        return int(handle.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def raw(server, head=b""):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head)
        yield connection


def status_of(connection):
    """The status that comes; 0 where the connection ends without one."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n" not in received and (piece := connection.recv(4096)):
            received += piece
    return int(received.split()[1]) if received else 0


def head(*lines):
    return "\r\n".join(("POST /predict HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


def test_t46_endless_bodies_are_refused_while_they_come(server):
    before = rss_mb()
    with raw(server, head("Transfer-Encoding: chunked")) as connection:
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 300:  # 20 MB, 20 times what is read
                connection.sendall(piece)
                sent += 1
        assert status_of(connection) in (413, 0)
    assert sent < 300
    with raw(server, head("Content-Length: 10000000000")) as connection:
        assert status_of(connection) == 413
    assert rss_mb() - before < 50


def test_t46_slow_bodies_and_headers_are_dropped(server):
    with raw(server, head("Content-Length: 1000")) as connection:  # a length that lies
        assert status_of(connection) == 408
    with raw(server, head("Transfer-Encoding: chunked")) as connection:
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - start < 15:
                connection.sendall(b"1\r\nx\r\n")
                time.sleep(0.05)
        assert time.monotonic() - start < 15
    with raw(server, b"GET / HTTP/1.1\r\n") as connection:
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - start < 15:
                connection.sendall(b"a: b\r\n")
                time.sleep(0.1)
        assert time.monotonic() - start < 15
    with raw(server) as connection:  # not a word
        assert connection.recv(1) == b""


def test_t46_all_bodies_together_are_bounded():
    with running(max_bodies_bytes=300_000, body_s=20.0) as server, contextlib.ExitStack() as stack:
        lines = head("Content-Type: application/json", "Content-Length: 250000")
        for _ in range(2):
            stack.enter_context(raw(server, lines + b" " * 160_000))
        until(lambda: server.metric("omnifuse_body_bytes") > 0)
        answers = [server.send("POST", "/predict", b" " * 200_000, JSON) for _ in range(2)]
        assert 503 in [answer.status for answer in answers]
        stack.close()
        until(lambda: server.app.bodies.num_bytes == 0)
        assert server.predict({"note": "red"}).status == 200


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"[" * 100_000, {413}), (b'{"rows":' + b"[" * 90_000 + b"]" * 90_000 + b"}", {413}),
        (json.dumps({"rows": [{str(number): 1 for number in range(50_000)}]}).encode(), {413}),
        (b'{"rows": [{}], "n": 1000000000}', {422}), (b'{"rows": [{"size": NaN}]}', {400}),
        (b'{"rows": [{"size": -Infinity}]}', {400}), (b'{"rows": [{"size": 1e999}]}', {200}),
        (b'{"rows": [{"size": ' + b"9" * 5000 + b"}]}", {400}), (b'{"rows": [' + b"{}," * 600 + b"{}]}", {413}),
        (b'"' + b'\\"' * 400_000, {400}),
    ],
)  # fmt: skip
def test_t47_wild_json(server, body, statuses):
    assert server.send("POST", "/predict", body, JSON).status in statuses


@pytest.mark.parametrize(
    "lines", [["a: " + "b" * 10_000_000], ["a: b"] * 100_000, ["a: b"] * 200, ["Host: evil", "Content-Length: 2"],
              ["Content-Length: -1"], ["Content-Length: 1", "Content-Length: 2"], ["Transfer-Encoding: gzip, chunked"]],
    ids=["10 MB", "100000", "200", "two hosts", "negative", "two lengths", "two encodings"],
)  # fmt: skip
def test_t47_wild_headers(server, lines):
    with raw(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head(*lines))
        # Of what is far too long the rest is still being sent when the connection ends
        assert status_of(connection) in ({400, 431, 0} if len(lines[0]) * len(lines) > 1000 else {400, 431, 501})


def routes(found):
    """Method and path of every route, by listing the application."""
    from omnifuse.serve.app import make_app

    listed = make_app(found.app).routes
    assert len(listed) >= 10
    return [(sorted(getattr(route, "methods", None) or {"WEBSOCKET"} - {"HEAD"})[0], route.path) for route in listed]


def opened(server, **headers):
    """The status with which a stream is opened or refused."""
    given = {"user_agent_header": None, "compression": None, "open_timeout": 30}
    origin = headers.pop("Origin", None)
    try:
        address = f"ws://{headers.pop('Host', 'localhost')}:{server.port}/stream"
        with (
            socket.create_connection(("127.0.0.1", server.port)) as connection,
            client.connect(address, sock=connection, additional_headers=headers, origin=origin, **given),
        ):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


def test_t48_every_route_asks_for_token_host_and_origin():
    right = {"Authorization": f"Bearer {TOKEN}"}
    with running(token=TOKEN) as server:
        found = routes(server)
        assert {path for _, path in found} >= {
            "/", "/predict", "/embed", "/explain", "/schema", "/metrics", "/health/live", "/health/ready", "/stream"
        }  # fmt: skip
        for method, path in found:
            if method == "WEBSOCKET":
                assert opened(server) == 401
                assert opened(server, Authorization="Bearer wrong") == 401
                assert opened(server, Origin="https://evil.example", **right) == 403
                assert opened(server, Host="evil.example", **right) == 403
                assert opened(server, **right) == 101
                continue
            wrong = {"Authorization": f"Bearer {TOKEN[::-1]}"}
            without = [server.send(method, path, b"{}").status, server.send(method, path, b"{}", wrong).status]
            assert without == ([200, 200] if path == "/health/live" else [401, 401]), path
            assert server.send(method, path, b"{}", {**right, "Host": "evil.example"}).status == 403, path
            assert server.send(method, path, b"{}", {**right, "Origin": "https://evil.example"}).status == 403, path
            other = "DELETE" if method != "WEBSOCKET" else "GET"
            assert server.send(other, path, None, right).status == 405, path
        assert server.send("GET", "/nowhere").status == 401
        assert server.send("GET", "/nowhere", None, right).status == 404
        assert server.send("GET", "/openapi.json", None, right).json["security"] == [{"token": []}]


def test_t49_default_bind_is_this_machine_and_others_need_a_token(tmp_path, capsys):
    import inspect

    from omnifuse.cli.main import run
    from omnifuse.cli.serve import serve

    assert inspect.signature(serve).parameters["host"].default.default == "127.0.0.1"
    with pytest.raises(SystemExit) as ended:
        run(["serve", str(tmp_path), "--host", "0.0.0.0"])
    assert ended.value.code == 2
    assert "--token-file" in capsys.readouterr().err


def test_t50_addresses_and_paths_in_fields_of_media_are_not_opened(server, tmp_path, monkeypatch):
    touched = []
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture())
    for name in ("open", "stat"):
        plain = getattr(os, name)

        def watched(path, *more, plain=plain, **options):
            touched.append(str(path))
            return plain(path, *more, **options)

        monkeypatch.setattr(os, name, watched)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        port = trap.getsockname()[1]
        values = [
            f"http://127.0.0.1:{port}/x.png", f"http://0x7f.1:{port}/", f"http://[::]:{port}/", str(secret),
            "http://169.254.169.254/latest/meta-data", f"http://user@127.0.0.1:{port}/", f"file://{secret}",
            f"ftp://127.0.0.1:{port}/", "../../etc/passwd", "data:image/png;base64,AAAA",
        ]  # fmt: skip
        values += [{"url": value} for value in values] + [{"path": value} for value in values]
        for field in ("photo", "sound", "pulse", "clip"):
            rows = [{field: value, "note": "red"} for value in values]
            for row in server.predict(*rows).json["predictions"]:
                used = row["modalities_used"]
                # An object may be a series of the channel "url", whose cells are then no numbers
                assert used == ["note"] or (field == "pulse" and used == ["pulse", "note"])
        with pytest.raises(TimeoutError):
            trap.accept()
    assert not [path for path in touched if "secret" in path or "passwd" in path]


def test_t51_errors_hold_no_path_no_address_and_no_traceback(server):
    texts = [
        server.predict({"note": "poison"}, {"note": "undecodable"}, {"photo": base64_of(b"BM" + b"x" * 99)}).body,
        server.predict({"photo": "/home/me/x.png"}, {"photo": {"path": "/home/me/x.png"}}).body,
        server.send("POST", "/embed", {"rows": [{"note": "undecodable"}]}).body,
        server.send("POST", "/predict", b"\x00\x01").body,
        server.send("GET", "/home/me").body,
    ]
    for text in texts:
        for sign in (b"/home", b"0x", b"Traceback", b"omnifuse.", b"site-packages", b"ValueError", b'File "'):
            assert sign not in text, text


def test_t51_a_defect_of_ours_is_told_without_a_word_of_it(server, monkeypatch):
    def broken():
        raise RuntimeError("/home/secret at 0x7f00")

    monkeypatch.setattr(server.app.service, "health", broken)
    answer = server.send("GET", "/health/ready")
    assert answer.status == 500
    assert answer.json == {"error": "the server has a defect; its log says more"}


def test_t52_one_poisoned_row_costs_itself_alone():
    answerer = FakeAnswerer(gate=threading.Event())
    notes = ["red"] * 32
    notes[13], notes[20], notes[25] = "poison", "undecodable", "nan"
    with running(answerer) as server, ThreadPoolExecutor(40) as pool:
        held = pool.submit(server.predict, {"note": "gate"})
        until(lambda: answerer.batches)
        asked = [pool.submit(server.predict, {"note": note}) for note in notes]
        until(lambda: server.app.service.batcher.num_waiting == 31)
        answerer.gate.set()
        found = [one.result(30).json["predictions"][0] for one in asked]
        together = server.predict(*[{"note": note} for note in notes]).json["predictions"]
        assert held.result(30).status == 200
    assert answerer.batches[1] == 31
    for rows in (found, together):
        assert [bool(row.get("error")) for row in rows] == [number in (13, 20, 25) for number in range(32)]
        assert all(row["targets"]["kind"]["value"] == "red" for row in rows if not row.get("error"))
        assert all(row["model_id"] == "fake00000001" for row in rows)


def test_t53_clients_that_go_leave_nothing_behind():
    answerer = FakeAnswerer(gate=threading.Event())
    with running(answerer, max_requests=4000) as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.predict, {"note": "gate"})
        until(lambda: answerer.batches)
        batcher = server.app.service.batcher
        body = json.dumps({"rows": [{"note": "red"}] * 2}).encode()
        request = head("Content-Type: application/json", f"Content-Length: {len(body)}") + body
        for _ in range(10):
            with contextlib.ExitStack() as stack:
                for _ in range(20):
                    stack.enter_context(raw(server, request))
                until(lambda: batcher.num_waiting == 40)
            until(lambda: batcher.num_waiting == 0)
        answerer.gate.set()
        assert held.result(30).status == 200
        assert server.app.service._num_requests == 0
        assert answerer.batches == [1]
        assert server.metric("omnifuse_errors_total") == 200


def test_t54_overload_is_turned_away_and_passes():
    answerer = FakeAnswerer(gate=threading.Event())
    with running(answerer, max_queue=10, max_requests=30) as server, ThreadPoolExecutor(60) as pool:
        held = pool.submit(server.predict, {"note": "gate"})
        until(lambda: answerer.batches)
        asked = [pool.submit(server.predict, {"note": "red"}) for _ in range(50)]
        until(lambda: sum(one.done() for one in asked) >= 40)
        assert server.send("GET", "/health/live").status == 200
        answerer.gate.set()
        answers = [one.result(30) for one in asked]
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) >= 40
        assert all(1 <= int(answer.headers["retry-after"]) <= 30 for answer in refused)
        assert all(answer.status in (200, 503) for answer in answers)
        assert held.result(30).status == 200
        assert server.predict({"note": "red"}).status == 200


def test_t54_a_batch_that_does_not_end_is_told_by_health():
    answerer = FakeAnswerer(gate=threading.Event())
    with running(answerer, stuck_s=0.2, request_s=0.5) as server:
        answer = server.predict({"note": "gate"})
        assert answer.status == 503
        assert "no answer within" in answer.json["error"]
        assert server.send("GET", "/health/live").status == 503
        assert server.send("GET", "/health/ready").json["status"] == "a batch does not end"
        answerer.gate.set()
        until(lambda: server.send("GET", "/health/ready").status == 200)


def test_t56_the_page_makes_no_markup_of_what_it_shows(server):
    script = server.send("GET", "/page.js").body.decode()
    for sign in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "javascript:"):
        assert sign not in script
    answer = server.send("GET", "/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"<script>" not in answer.body
    assert b" on" not in answer.body.lower().split(b"<main>")[1].replace(b" only", b"")
    rows = server.predict({"note": "red <img onerror=alert(1)>", "key": "</script>"})
    assert rows.headers["content-type"] == "application/json"
    assert rows.headers["x-content-type-options"] == "nosniff"
