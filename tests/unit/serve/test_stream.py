"""Streams through a real server."""

from __future__ import annotations

import json
import threading

import pytest

pytest.importorskip("fastapi")
client = pytest.importorskip("websockets.sync.client")

import websockets  # noqa: E402
from tests.serving import FakeAnswerer, base64_of, picture, running, until  # noqa: E402


def connect(server, **options):
    return client.connect(f"ws://127.0.0.1:{server.port}/stream", compression=None, open_timeout=30, **options)


def say(socket, data):
    socket.send(json.dumps(data))


def hear(socket):
    return json.loads(socket.recv(timeout=30))


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


def test_a_window_is_answered_at_each_step(server):
    with connect(server) as socket:
        say(socket, {"window_s": 1, "every_s": 1, "proba": True})
        assert hear(socket) == {"ready": True, "model_id": "fake00000001"}
        say(socket, {"t": 10.0, "values": {"note": "red", "photo": {"base64": base64_of(picture())}}})
        first = hear(socket)
        say(socket, {"t": 10.5, "values": {"size": 1}})
        say(socket, {"t": 11.5, "values": {"pulse": [1, 2]}})
        second = hear(socket)
    assert first["t"] == 10.0
    assert first["prediction"]["targets"]["kind"]["probabilities"]["red"] == pytest.approx(0.9)
    assert first["prediction"]["modalities_used"] == ["note", "photo"]
    assert second["t"] == 11.5
    assert sorted(second["prediction"]["modalities_used"]) == ["note", "pulse", "size"]
    assert second["skipped"] == 0
    assert second["prediction"]["model_id"] == "fake00000001"


def test_what_is_wrong_is_said_and_the_stream_goes_on(server):
    with connect(server) as socket:
        say(socket, {})
        hear(socket)
        say(socket, {"t": 1, "values": {"photos": 1}})
        assert "did you mean 'photo'" in hear(socket)["error"]
        socket.send("{")
        assert "not JSON" in hear(socket)["error"]
        say(socket, {"t": 0, "values": {}})
        assert "goes back" in hear(socket)["error"]
        say(socket, {"t": 2, "values": {"photo": "/etc/passwd", "note": "red"}})
        assert hear(socket)["prediction"]["warnings"][0].startswith("photo: not base64")


def test_a_wrong_setting_ends_the_stream(server):
    with connect(server) as socket:
        say(socket, {"window_s": 1e6})
        assert "window_s" in hear(socket)["error"]
        with pytest.raises(websockets.ConnectionClosed):
            socket.recv(timeout=30)


def test_windows_that_come_too_fast_are_skipped_and_counted():
    answerer = FakeAnswerer(gate=threading.Event())
    with running(answerer) as server, connect(server) as socket:
        say(socket, {"every_s": 1})
        hear(socket)
        say(socket, {"t": 0, "values": {"note": "gate"}})
        until(lambda: answerer.batches)
        for second in (1, 2, 3):
            say(socket, {"t": second, "values": {}})
        say(socket, {"t": 3, "values": {"photos": 1}})
        assert "photos" in hear(socket)["error"]  # all before it were taken
        answerer.gate.set()
        assert hear(socket)["skipped"] == 3


def test_streams_are_counted_and_idle_ones_closed():
    with running(max_streams=1, stream_idle_s=2.0) as server:
        with connect(server) as socket:
            say(socket, {})
            hear(socket)
            assert server.app.num_streams == 1
            with pytest.raises(websockets.InvalidStatus), connect(server):
                pass
            with pytest.raises(websockets.ConnectionClosed) as caught:
                socket.recv(timeout=30)
            assert "nothing came" in str(caught.value)
        until(lambda: server.app.num_streams == 0)
        assert server.predict({"note": "red"}).status == 200


def test_a_large_message_ends_the_stream_alone():
    with running(max_message_bytes=10_000) as server:
        with connect(server) as socket:
            say(socket, {})
            hear(socket)
            say(socket, {"values": {"note": "x" * 20_000}})
            with pytest.raises(websockets.ConnectionClosed):
                socket.recv(timeout=30)
        assert server.predict({"note": "red"}).status == 200
