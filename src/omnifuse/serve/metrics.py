"""What is measured of a running server, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from omnifuse.serve.batcher import BatchReport

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and times of one server."""

    def __init__(self) -> None:
        home = self.registry = CollectorRegistry()
        self._requests = Counter(
            "omnifuse_requests", "Requests by route and status", ["route", "status"], registry=home
        )
        self._seconds = Histogram(
            "omnifuse_request_seconds", "From the headers to the answer", ["route"], buckets=_SECONDS, registry=home
        )
        self._decode = Histogram(
            "omnifuse_decode_seconds", "Reading and preprocessing one request", buckets=_SECONDS, registry=home
        )
        self._forward = Histogram("omnifuse_forward_seconds", "One batch", buckets=_SECONDS, registry=home)
        self._batch = Histogram("omnifuse_batch_rows", "Rows answered together", buckets=_ROWS, registry=home)
        self._rows = Counter("omnifuse_rows", "Rows answered", registry=home)
        self._errors = Counter(
            "omnifuse_errors",
            "What went wrong: row, cell, overload, gone, late, reload, registry, bug",
            ["kind"],
            registry=home,
        )
        self._queue = Gauge("omnifuse_queue_rows", "Rows that wait for the model", registry=home)
        self._bodies = Gauge("omnifuse_body_bytes", "Bytes of the bodies that are held", registry=home)
        self._streams = Gauge("omnifuse_streams", "Open streams", registry=home)
        self._model = Gauge("omnifuse_model_info", "1 for each model that answers", ["model_id"], registry=home)

    def watch(self, *, queue: Callable[[], float], bodies: Callable[[], float], streams: Callable[[], float]) -> None:
        """Where the present numbers are read from."""
        self._queue.set_function(queue)
        self._bodies.set_function(bodies)
        self._streams.set_function(streams)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def decoded(self, seconds: float) -> None:
        """A request was decoded."""
        self._decode.observe(seconds)

    def batch(self, report: BatchReport) -> None:
        """A batch was answered."""
        self._forward.observe(report.seconds)
        self._batch.observe(report.num_rows)
        self._rows.inc(report.num_rows)

    def error(self, kind: str, count: int = 1) -> None:
        """Something went wrong."""
        self._errors.labels(kind).inc(count)

    def model(self, *model_ids: str) -> None:
        """Other models answer from now on."""
        self._model.clear()
        for model_id in model_ids:
            self._model.labels(model_id).set(1)

    def page(self) -> bytes:
        """All of it as text."""
        return bytes(generate_latest(self.registry))
