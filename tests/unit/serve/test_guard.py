"""Who may ask: names, origins, tokens and headers, without a server."""

from __future__ import annotations

import asyncio
import base64

import pytest
from tests.serving import TOKEN

from omnifuse.serve.guard import Gate, Guard, host_name, read_headers
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError

OPEN, CLOSED = Gate.of("127.0.0.1"), Gate.of("0.0.0.0", TOKEN, ["model.example"])


def status(gate, headers, path="/predict", method="POST"):
    try:
        gate.check({"host": "127.0.0.1:8000", **headers}, path, method)
    except RequestError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:80", "LOCALHOST", "[::1]:8000", "10.1.2.3:8000", "localhost."]
)
def test_names_of_this_server(host):
    assert status(OPEN, {"host": host}) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "", "localhost.evil.example", "a@localhost", "localhost:x", "localhost/x",
     "127.0.0.1.evil.example", "0x7f.1", "[::1", "model.example"],
)  # fmt: skip
def test_other_names_are_refused(host):
    assert status(OPEN, {"host": host}) == 403


def test_names_can_be_allowed():
    assert status(CLOSED, {"host": "Model.Example:443", "authorization": f"Bearer {TOKEN}"}) == 200


@pytest.mark.parametrize(
    ("headers", "method", "expected"),
    [
        ({"origin": "http://127.0.0.1:8000"}, "POST", 200), ({"origin": "http://127.0.0.1:9000"}, "POST", 403),
        ({"origin": "https://evil.example"}, "POST", 403), ({"origin": "null"}, "POST", 403),
        ({"origin": "https://evil.example"}, "GET", 403), ({"origin": "https://evil.example"}, "WEBSOCKET", 403),
        ({"origin": "file://127.0.0.1:8000"}, "POST", 403), ({"sec-fetch-site": "cross-site"}, "POST", 403),
        ({"sec-fetch-site": "same-site"}, "POST", 403), ({"sec-fetch-site": "same-origin"}, "POST", 200),
        ({"sec-fetch-site": "cross-site"}, "GET", 200), ({}, "POST", 200),
    ],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(headers, method, expected):
    assert status(OPEN, headers, method=method) == expected


def basic(user, word):
    return "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"Bearer {TOKEN}", 200), (f"bearer  {TOKEN} ", 200), (basic("me", TOKEN), 200), ("", 401), ("Bearer", 401),
        (f"Bearer {TOKEN}x", 401), (f"Bearer {TOKEN[:-1]}", 401), (TOKEN, 401), (f"Token {TOKEN}", 401),
        (basic(TOKEN, ""), 401), ("Basic ====", 401), ("Basic \xff", 401), ("Bearer \xff\u1234", 401),
    ],
)  # fmt: skip
def test_the_token_is_asked(given, expected):
    assert status(CLOSED, {"authorization": given}) == expected


def test_an_empty_token_is_never_right():
    assert status(Gate(""), {"authorization": "Bearer x"}) == 401


def test_only_the_route_of_life_is_open():
    assert status(CLOSED, {}, "/health/live", "GET") == 200
    assert status(CLOSED, {"host": "evil.example"}, "/health/live", "GET") == 403
    for path in ("/", "/health/live/", "/HEALTH/LIVE", "/health/ready", "//health/live", "/nowhere"):
        assert status(CLOSED, {}, path, "GET") == 401


def test_browsers_are_asked_for_the_token_on_the_page_alone():
    for path, kind in (("/", "Basic"), ("/predict", "Bearer")):
        with pytest.raises(RequestError) as caught:
            CLOSED.check({"host": "127.0.0.1"}, path, "GET")
        assert caught.value.headers["www-authenticate"].startswith(kind)


def test_headers_are_bounded_and_not_repeated():
    limits = ServeLimits()
    assert read_headers([(b"Host", b"a"), (b"x", b"1"), (b"x", b"2")], limits) == {"host": "a", "x": "2"}
    for raw, code in (
        ([(b"x", b"1")] * 101, 431), ([(b"x", b"y" * 40_000)], 431), ([(b"host", b"a"), (b"HOST", b"b")], 400),
        ([(b"content-length", b"1"), (b"content-length", b"2")], 400),
    ):  # fmt: skip
        with pytest.raises(RequestError) as caught:
            read_headers(raw, limits)
        assert caught.value.status == code


@pytest.mark.parametrize("host", ["a b", "a\tb", "x" * 400, "user:word@localhost", "a?b", "a#b", "a\\b"])
def test_what_is_no_name(host):
    assert host_name(host) is None


def test_a_request_is_counted_once_with_its_status():
    counted, sent = [], []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    guard = Guard(app, gate=OPEN, limits=ServeLimits(), routes=["/predict"], count=lambda *facts: counted.append(facts))
    for path, host in (("/predict", b"localhost"), ("/x", b"localhost"), ("/predict", b"evil")):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", host)]}
        asyncio.run(guard(scope, None, send))
    assert [facts[:2] for facts in counted] == [("/predict", 418), ("other", 418), ("/predict", 403)]
    names = [dict(message["headers"]) for message in sent if message["type"] == "http.response.start"]
    assert all(b"content-security-policy" in found for found in names)
