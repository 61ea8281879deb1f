"""What a server takes beside the bare graphs, in one run; writes results/serve.json.

    python benchmarks/serve.py RUN TABLE [--only row latency throughput overload soak litserve] [--calls N]
        [--seconds S] [--soak-minutes M] [--faults]

RUN is an exported run, TABLE rows of its kind with media beside it. The server is `omnifuse serve --graphs`, a process
of its own on this machine; it, the bare graphs and, where installed, LitServe with the same runtime are asked the same
rows in turn.

row         `Runtime.predict` of one row / the bare graphs that it runs, interleaved, median
latency     one request after another: median of the server - median of the bare graphs, A-B-A
throughput  rows/s under as many requests at once as wait for a batch / rows/s of the bare graphs in batches of 32;
            then times that do not wait for answers at 70% of that: 50th, 95th and 99th percentile
overload    five times what the server takes: share of 503, 99th percentile of what was admitted, seconds until it
            answers at once again
soak        good and bad requests mixed for minutes at half of what it takes: memory, handles and threads an hour, 5xx
            to good requests; with --faults the process of the model is killed and stopped in turn each minute
litserve    LitServe in the place of the server: rows/s and the same percentiles
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.load import Request, closed_loop, open_loop, post, summary  # noqa: E402
from benchmarks.processes import Watched, omnifuse_server, slope_an_hour, started  # noqa: E402
from benchmarks.run import RESULTS, hardware, write_json  # noqa: E402
from benchmarks.score import source_tree  # noqa: E402

PARTS = ("row", "latency", "throughput", "overload", "soak", "litserve")
# As many rows as the server answers at once, and requests that are under way to fill that
BATCH, AT_ONCE = 32, 48
OVERLOAD, STEADY, SOAK_SHARE = 5.0, 0.7, 0.5
HEALED_S = 15.0
MOST_ROWS = 256
BAD = (
    (b"{no json", (400, 422)), (b'{"rows": [{"nothing": 1}]}', (422,)), (b'{"rows": 3}', (422,)),
    (b'{"rows": [' + b"{}," * 600 + b"{}]}", (413,)),
)  # fmt: skip


@dataclass
class Asked:
    """The runtime of a run, rows with whole paths of media, and the same as requests."""

    run: Path
    rows: list[dict[str, Any]]
    runtime: Any

    @classmethod
    def of(cls, run: Path, table: Path) -> Asked:
        from omnifuse.data.tables import open_table
        from omnifuse.deploy.runtime import Runtime

        runtime = Runtime(run, threads=1)
        opened = open_table(table)
        count = min(opened.num_rows, MOST_ROWS)
        cells = {name: opened.cells(name)[:count] for name in runtime.columns if name in opened.columns}
        rows: list[dict[str, Any]] = []
        for number in range(count):
            row = {name: column[number] for name, column in cells.items() if column[number] is not None}
            rows.append({name: _whole(table.parent, cell, runtime.columns[name]) for name, cell in row.items()})
        return cls(run, rows, runtime)

    @property
    def requests(self) -> list[Request]:
        return [Request(post("/predict", json.dumps({"rows": [_sent(row)]}).encode())) for row in self.rows]

    def light_rows(self) -> list[dict[str, Any]]:
        """Complete rows of words and cells alone."""
        names = [name for name, kind in self.runtime.columns.items() if not kind.is_media]
        found = [{name: row[name] for name in names if name in row} for row in self.rows]
        most = max(len(row) for row in found)
        return [row for row in found if len(row) == most]


def _whole(folder: Path, cell: Any, kind: Any) -> Any:
    return str(folder / cell) if kind.is_media and isinstance(cell, str) and "|" not in cell else cell


def _sent(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a client sends it: media as their content."""
    return {
        name: {"base64": base64.b64encode(Path(cell).read_bytes()).decode()}
        if isinstance(cell, str) and len(cell) < 4096 and os.path.isabs(cell) and Path(cell).is_file() else cell
        for name, cell in row.items()
    }  # fmt: skip


def bare_call(runtime: Any, rows: Sequence[dict[str, Any]]) -> Callable[[], None]:
    """The graphs that rows run, with what they are given, and nothing else."""
    decoded = runtime.decode(runtime.opened(list(rows)))
    seen: list[tuple[Any, dict[str, np.ndarray]]] = []
    graphs = runtime.graphs

    class Listening:
        def __init__(self, session: Any) -> None:
            self.session = session

        def run(self, names: Any, feeds: dict[str, np.ndarray]) -> Any:
            seen.append((self.session, feeds))
            return self.session.run(names, feeds)

    sessions, fusion = graphs.sessions, graphs.fusion
    graphs.sessions = {name: Listening(session) for name, session in sessions.items()}
    graphs.fusion = Listening(fusion)
    try:
        runtime.raw(decoded)
    finally:
        graphs.sessions, graphs.fusion = sessions, fusion

    def call() -> None:
        for session, feeds in seen:
            session.run(None, feeds)

    return call


def seconds_of(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure_row(asked: Asked, calls: int) -> dict[str, Any]:
    """`Runtime.predict` and the bare graphs in turn, for whole rows and for those without media."""
    found: dict[str, Any] = {}
    for name, rows in (("whole row", asked.rows), ("row without media", asked.light_rows())):
        times: dict[str, list[float]] = {"predict": [], "bare": []}
        pairs = [(row, bare_call(asked.runtime, [row])) for row in rows[: min(calls, 16)]]
        for number in range(calls):
            row, bare = pairs[number % len(pairs)]
            times["predict"].append(seconds_of(lambda row=row: asked.runtime.predict([row])))
            times["bare"].append(seconds_of(bare))
        ours, limit = (statistics.median(times[key]) * 1e3 for key in ("predict", "bare"))
        found[f"runtime / bare graphs, {name}"] = _entry(ours / limit, "ratio", "<= 1.15")
        found[f"runtime, {name}"] = _entry(ours, "ms")
    return found


def measure_latency(asked: Asked, server: Watched, calls: int) -> dict[str, Any]:
    """The server alone and the bare graphs alone, A-B-A, for rows of words and cells."""
    rows = asked.light_rows()[:16]
    requests = [Request(post("/predict", json.dumps({"rows": [row]}).encode())) for row in rows]
    bare = [bare_call(asked.runtime, [row]) for row in rows]
    closed_loop(server.port, requests, count=min(calls, 10), at_once=1)
    served: list[float] = []
    limit: list[float] = []
    for turn in range(3):
        if turn % 2 == 0:
            served += [item.seconds for item in closed_loop(server.port, requests, count=calls, at_once=1)]
        else:
            limit += [seconds_of(bare[number % len(bare)]) for number in range(calls)]
    ours, below = statistics.median(served) * 1e3, statistics.median(limit) * 1e3
    return {
        "server - bare graphs, one request at a time": _entry(ours - below, "ms", "< 2"),
        "server, one request at a time": _entry(ours, "ms"),
    }


def bare_rate(asked: Asked, seconds: float) -> float:
    """Rows/s of the bare graphs in batches, with what is read before them left out."""
    chunks = [asked.rows[start : start + BATCH] for start in range(0, len(asked.rows), BATCH)]
    calls = [(len(chunk), bare_call(asked.runtime, chunk)) for chunk in chunks]
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for rows, call in calls:
            call()
            count += rows
    return count / (time.perf_counter() - began)


def measure_throughput(asked: Asked, server: Watched, seconds: float, count: int) -> tuple[dict[str, Any], float]:
    """What the server takes, beside the bare graphs before and after; and its answers at 70% of that."""
    before = bare_rate(asked, seconds / 4)
    full = summary(closed_loop(server.port, asked.requests, count=count, at_once=AT_ONCE))
    limit = statistics.mean([before, bare_rate(asked, seconds / 4)])
    capacity = full["rows_per_s"]
    steady = summary(open_loop(server.port, asked.requests, rate=STEADY * capacity, seconds=seconds))
    found = {
        "served / bare graphs in batches": _entry(capacity / limit, "ratio", ">= 0.85"),
        "served": _entry(capacity, "rows/s"),
        **{f"{name.split('_')[0]} at 70% of it": _entry(steady[name], "ms") for name in ("p50_ms", "p95_ms", "p99_ms")},
        "share of 503 at 70% of it": _entry(steady["share_503"], "share"),
    }
    return found, capacity


def measure_overload(asked: Asked, server: Watched, capacity: float, seconds: float) -> dict[str, Any]:
    """More than the server takes: who is turned away, and how soon all is well again."""
    results = open_loop(server.port, asked.requests, rate=OVERLOAD * capacity, seconds=seconds)
    found, began = summary(results), time.perf_counter()
    refused = [item for item in results if item.status == 503]
    while not _quick(asked, server) and time.perf_counter() - began < 60:
        time.sleep(0.1)
    return {
        "share of 503 at five times": _entry(found["share_503"], "share"),
        "503 with Retry-After": _entry(
            sum(item.retry_after for item in refused) / max(len(refused), 1) if refused else 1.0, "share", "1"
        ),
        "without an answer at five times": _entry(found["share_unanswered"], "share", "0"),
        "p99 of what was admitted": _entry(found["p99_ms"], "ms"),
        "well again after": _entry(time.perf_counter() - began, "s", "< 5"),
    }


def _quick(asked: Asked, server: Watched) -> bool:
    return closed_loop(server.port, asked.requests[:1], count=1, at_once=1)[0].status == 200


def mixed(asked: Asked) -> list[Request]:
    """Good requests with a bad one after each five."""
    good, bad = asked.requests, [Request(post("/predict", body), 0, right) for body, right in BAD]
    return [part for number, request in enumerate(good) for part in
            ([request, bad[number // 5 % len(bad)]] if number % 5 == 4 else [request])]  # fmt: skip


def measure_soak(asked: Asked, server: Watched, capacity: float, minutes: float, *, faults: bool) -> dict[str, Any]:
    """Minutes of mixed traffic; with `faults` the process of the model is killed and stopped in turn."""
    healed: list[float] = []
    state = {"next": time.monotonic() + 60.0, "count": 0, "since": 0.0, "worker": 0}

    def look() -> None:
        server.sample()
        now = time.monotonic()
        if state["since"]:
            if server.workers != [state["worker"]] and server.workers != [server.pid]:
                healed.append(now - state["since"])
                state["since"] = 0.0
        elif faults and now >= state["next"]:
            state.update(worker=server.workers[0], since=now, next=now + 60.0, count=state["count"] + 1)
            os.kill(int(state["worker"]), signal.SIGKILL if state["count"] % 2 else signal.SIGSTOP)

    rate = SOAK_SHARE * capacity
    results = open_loop(server.port, mixed(asked), rate=rate, seconds=minutes * 60, while_running=look)
    good = [item for item in results if item.num_rows]
    bad = [item for item in results if not item.num_rows]
    found = {
        "5xx to good requests": _entry(sum(item.status >= 500 for item in good), "requests", "0"),
        "good requests without an answer": _entry(sum(item.status == 0 for item in good), "requests", "0"),
        "bad requests answered wrongly": _entry(sum(not item.right for item in bad), "requests", "0"),
        "memory": _entry(server.samples[-1].rss_mb if server.samples else float("nan"), "MB"),
        **{
            f"{name} an hour": _entry(slope_an_hour(server.samples, what), unit, aim)
            for name, what, unit, aim in (
                ("memory", "rss_mb", "MB", "< 1"),
                ("handles", "handles", "handles", "0"),
                ("threads", "threads", "threads", "0"),
            )
        },
    }  # fmt: skip
    if faults:
        longest = max(healed, default=float("nan"))
        found["longest until the model's process was new"] = _entry(longest, "s", f"< {HEALED_S:g}")
        found["faults"] = _entry(state["count"], "times")
    return found


def measure_litserve(asked: Asked, seconds: float, count: int) -> dict[str, Any]:
    """The same runtime behind LitServe; nothing where that is not installed."""
    if find_spec("litserve") is None:
        print("litserve is not installed: left out", file=sys.stderr)
        return {}
    command = [sys.executable, str(ROOT / "benchmarks" / "peers" / "litserve_server.py"), str(asked.run), str(BATCH)]
    with started(command) as server:
        full = summary(closed_loop(server.port, asked.requests, count=count, at_once=AT_ONCE))
        steady = summary(
            open_loop(server.port, asked.requests, rate=STEADY * full["rows_per_s"], seconds=seconds)
        )  # fmt: skip
        one = summary(closed_loop(server.port, asked.requests, count=max(count // 10, 5), at_once=1))
    return {
        "LitServe, served": _entry(full["rows_per_s"], "rows/s"),
        "LitServe, p99 at 70% of it": _entry(steady["p99_ms"], "ms"),
        "LitServe, one request at a time": _entry(one["p50_ms"], "ms"),
    }


def _entry(value: float, unit: str, aim: str = "") -> dict[str, Any]:
    return {"value": round(float(value), 6), "unit": unit, **({"limit": aim} if aim else {})}


@contextlib.contextmanager
def serving(run: Path) -> Iterator[Watched]:
    with started(omnifuse_server(run), {"OMP_NUM_THREADS": "1"}) as server:
        yield server


def measure(asked: Asked, options: argparse.Namespace) -> dict[str, Any]:
    """Every part that is asked for."""
    parts, found = set(options.only or PARTS), {}
    if "row" in parts:
        found |= measure_row(asked, options.calls)
    if parts & {"latency", "throughput", "overload", "soak"}:
        with serving(asked.run) as server:
            capacity = 0.0
            if "latency" in parts:
                found |= measure_latency(asked, server, options.calls)
            if parts & {"throughput", "overload", "soak"}:
                more, capacity = measure_throughput(asked, server, options.seconds, options.calls * 5)
                found |= more if "throughput" in parts else {}
            if "overload" in parts:
                found |= measure_overload(asked, server, capacity, options.seconds)
            if "soak" in parts:
                found |= measure_soak(asked, server, capacity, options.soak_minutes, faults=options.faults)
    if "litserve" in parts:
        found |= measure_litserve(asked, options.seconds, options.calls * 5)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--soak-minutes", type=float, default=20.0)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    load = os.getloadavg()
    found = measure(Asked.of(options.run, options.table), options)
    path = options.results / "serve.json"
    kept = json.loads(path.read_text())["results"] if options.only and path.exists() else {}
    result = {
        **source_tree(), "hardware": hardware(), "load": [round(value, 2) for value in load],
        "results": kept | found,
    }  # fmt: skip
    write_json(path, result)
    for name, item in found.items():
        print(f"{name}: {item['value']:.4g} {item['unit']} {item.get('limit', '')}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
