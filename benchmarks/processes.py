"""What a server's processes take while they run: memory, file handles, threads; and a server to be measured."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MEGABYTE = 2**20


def children_of(pid: int) -> list[int]:
    """Process ids of the direct children, from /proc."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in found.read_text().split()] if found.exists() else []


@dataclass(frozen=True)
class Sample:
    """At a time (s): resident memory in MB, open file handles and threads of all processes of a server together."""

    at_s: float
    rss_mb: float
    handles: int
    threads: int


@dataclass
class Watched:
    """A server that was started to be measured.

    Attributes:
        pid: Of the process that was started; its child holds the model.
        port: Where it listens.
        samples: What `sample` found.
    """

    pid: int
    port: int
    samples: list[Sample] = field(default_factory=list)

    @property
    def workers(self) -> list[int]:
        """The processes with the model; for a server of one process that one."""
        return children_of(self.pid) or [self.pid]

    def sample(self) -> None:
        """Look at all its processes now; one that ends meanwhile is left out."""
        memory, handles, threads = 0, 0, 0
        for pid in {self.pid, *self.workers}:
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                memory += int(status.split("VmRSS:")[1].split()[0]) * 1024
                threads += int(status.split("Threads:")[1].split()[0])
                handles += len(os.listdir(f"/proc/{pid}/fd"))
        self.samples.append(Sample(time.monotonic(), memory / MEGABYTE, handles, threads))


def slope_an_hour(samples: Sequence[Sample], what: str, *, settled: float = 0.25) -> float:
    """Change an hour of the straight line through what was sampled, the first quarter left out: caches fill then.

    Args:
        samples: At least a few.
        what: Field of `Sample`.
        settled: Share that is left out.
    """
    kept = samples[int(len(samples) * settled) :]
    if len(kept) < 3:
        return float("nan")
    times = np.array([item.at_s for item in kept]) / 3600
    return float(np.polyfit(times - times[0], [getattr(item, what) for item in kept], 1)[0])


@contextlib.contextmanager
def started(command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[Watched]:
    """A server that prints one line of JSON with its "url" when it answers; ended afterwards."""
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with {process.wait()}: {' '.join(command)}")
        yield Watched(process.pid, int(json.loads(line)["url"].rstrip("/").rsplit(":", 1)[1]))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def omnifuse_server(run: Path, *, threads: int = 1) -> list[str]:
    """The command that serves the graphs of a run."""
    code = "from omnifuse.cli.main import run; run()"
    options = ["--graphs", "--port", "0", "--json", "--workers", str(threads)]
    return [sys.executable, "-c", code, "serve", str(run), *options]
