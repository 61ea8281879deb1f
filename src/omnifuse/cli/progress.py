"""Progress on stderr: one live line on a terminal, one line a stage in a log."""

from __future__ import annotations

import sys
import time
from typing import Any


def clock(seconds: float | None) -> str:
    """`1:05` for 65 seconds; `?` where unknown."""
    if seconds is None:
        return "?"
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def training_line(data: dict[str, Any]) -> str:
    """Epoch, loss, score, samples/s, share of time waiting for data, memory, ETA of the whole fit."""
    parts = [f"{data['name']}", f"epoch {data.get('epoch', 0) + 1}"]
    parts.append(f"step {data.get('step', 0)}" + (f"/{data['steps']}" if data.get("steps") else ""))
    if data.get("loss") is not None:
        parts.append(f"loss {data['loss']:.3f}")
    if data.get("score") is not None:
        parts.append(f"score {data['score']:.3f}")
    parts.append(f"{data.get('samples_per_s', 0):.0f} rows/s")
    parts.append(f"waiting {data.get('wait_share', 0):.0%}")
    if data.get("memory_mb"):
        parts.append(f"{data['memory_mb']:.0f} MB")
    parts.append(f"ETA {clock(data.get('eta_s'))}")
    return "  ".join(parts)


class Progress:
    """Listens to `fit` and writes to stderr."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty()
        self.open_line = False
        self.last = 0.0

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        """Take one event: `stage`, `note` or `train`."""
        if self.quiet:
            return
        if kind == "train":
            self._train(data)
        else:
            self._line(("" if kind == "stage" else "  note: ") + data["text"])

    def _train(self, data: dict[str, Any]) -> None:
        pause = 0.2 if self.live else 10.0
        if not data.get("done") and time.monotonic() - self.last < pause:
            return
        self.last = time.monotonic()
        if self.live:
            sys.stderr.write("\r\x1b[2K" + training_line(data))
            self.open_line = True
        else:
            sys.stderr.write(training_line(data) + "\n")
        sys.stderr.flush()

    def _line(self, text: str) -> None:
        if self.open_line:
            sys.stderr.write("\n")
            self.open_line = False
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the live line."""
        if self.open_line:
            sys.stderr.write("\n")
            self.open_line = False
