"""The load generator of `benchmarks/serve.py`: nothing is lost, nothing waits, and what went wrong is counted."""

from __future__ import annotations

import json
import os
import socket
import threading

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from benchmarks import page
from benchmarks.load import Request, closed_loop, open_loop, post, summary
from benchmarks.processes import Sample, Watched, slope_an_hour
from tests.serving import FakeAnswerer, running


def asking(*notes, right=(200,)):
    return [Request(post("/predict", json.dumps({"rows": [{"note": note}]}).encode()), 1, right) for note in notes]


def test_every_request_of_a_closed_loop_is_answered_once():
    answerer = FakeAnswerer()
    with running(answerer) as server:
        found = closed_loop(server.port, asking("red", "blue"), count=40, at_once=6)
    assert len(found) == sum(answerer.batches) == 40
    assert all(item.right and item.seconds > 0 for item in found)
    assert summary(found)["share_wrong"] == summary(found)["share_503"] == 0


def test_an_open_loop_does_not_wait_for_answers():
    gate = threading.Event()
    with running(FakeAnswerer(gate=gate)) as server:
        threading.Timer(1.2, gate.set).start()
        found = open_loop(server.port, asking("gate"), rate=40, seconds=0.5)
    assert len(found) > 8
    assert max(item.due_s for item in found) < 0.5
    # Those that were due first waited longest: time is counted from when a request was due
    first, last = min(found, key=lambda item: item.due_s), max(found, key=lambda item: item.due_s)
    assert first.seconds > last.seconds > 0.5


def test_the_times_of_an_open_loop_are_those_of_its_seed_and_rate():
    with running() as server:
        one, other = (open_loop(server.port, asking("red"), rate=100, seconds=0.5, seed=3) for _ in range(2))
    assert sorted(item.due_s for item in one) == sorted(item.due_s for item in other)
    assert 25 <= len(one) <= 80


def test_refusals_and_mistakes_are_counted_apart():
    gate = threading.Event()
    with running(FakeAnswerer(gate=gate), max_queue=2, max_requests=4) as server:
        threading.Timer(0.8, gate.set).start()
        found = open_loop(server.port, asking("gate"), rate=60, seconds=0.4)
        wrong = closed_loop(server.port, [Request(post("/predict", b"{no"), 0, (200,))], count=3, at_once=1)
    refused = [item for item in found if item.status == 503]
    assert refused
    assert all(item.retry_after for item in refused)
    told = summary(found)
    assert told["share_503"] == len(refused) / len(found)
    assert told["share_wrong"] == 0
    assert summary(wrong)["share_wrong"] == 1


def test_a_server_that_is_not_there_leaves_requests_without_an_answer():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = closed_loop(port, asking("red"), count=3, at_once=1)
    assert summary(found)["share_unanswered"] == 1
    assert np.isnan(summary(found)["p99_ms"])


def test_slopes_are_those_of_the_line_behind_the_first_quarter():
    samples = [Sample(36.0 * place, 500.0 if place < 5 else 100.0 + 2 * place, 7, 3) for place in range(20)]
    assert slope_an_hour(samples, "rss_mb") == pytest.approx(200.0)
    assert slope_an_hour(samples, "handles") == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(slope_an_hour(samples[:2], "rss_mb"))


def test_a_process_is_sampled():
    watched = Watched(os.getpid(), 0)
    watched.sample()
    (sample,) = watched.samples
    assert sample.rss_mb > 10
    assert sample.handles > 2
    assert sample.threads >= 1


def test_the_page_shows_what_was_measured():
    found = {
        "tree": "0123456789abcdef", "dirty": False, "load": [0.1, 0.1, 0.1],
        "hardware": {"processor": "p", "cores": 2, "flags": [], "accelerator": None, "threads": 2},
        "results": {"served / bare graphs in batches": {"value": 0.9, "unit": "ratio", "limit": ">= 0.85"}},
    }  # fmt: skip
    assert "| served / bare graphs in batches | 0.900 | ratio | >= 0.85 |" in page.page([], None, {"serve": found})
