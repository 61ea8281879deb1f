"""Media decoded by other processes under a watchdog: a medium that hangs or kills its decoder costs one cell.

Parent and worker speak length-prefixed JSON headers with raw arrays behind them, so nothing is ever unpickled, and a
user's script needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.preprocessors import preprocessors_from_json, preprocessors_to_json
from omnifuse.errors import MediaError

TIMEOUT_S = 60.0
_LENGTH = struct.Struct("<II")


def decode_cell(cell: Any, preprocessor: Any, door: MediaDoor) -> dict[str, np.ndarray] | str:
    """The arrays of one medium, or the reason why it cannot be read."""
    try:
        if preprocessor.kind == "image":
            return dict(preprocessor(door.image(cell)))
        return dict(preprocessor(door.audio(cell, preprocessor.rate_hz)))
    except MediaError as error:
        return str(error)


def _send(stream: BinaryIO, header: dict[str, Any], body: bytes = b"") -> None:
    text = json.dumps(header).encode()
    stream.write(_LENGTH.pack(len(text), len(body)) + text + body)
    stream.flush()


def _receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    start = stream.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        return None
    text, body = _LENGTH.unpack(start)
    header = json.loads(stream.read(text))
    return header, stream.read(body)


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """The worker's side: read a setting or a cell, answer with an array or a reason, until the pipe closes."""
    preprocessor: Any = None
    door = MediaDoor()
    while (message := _receive(incoming)) is not None:
        header, body = message
        if "preprocessor" in header:
            preprocessor = preprocessors_from_json({"": header["preprocessor"]})[""]
            root = Path(header["root"]) if header["root"] else None
            door = MediaDoor(root=root, confined=header["confined"], limits=MediaLimits(**header["limits"]))
            continue
        answer = decode_cell(header["path"] if "path" in header else body, preprocessor, door)
        if isinstance(answer, str):
            _send(outgoing, {"error": answer})
        else:
            ((name, array),) = answer.items()
            data = np.ascontiguousarray(array)
            _send(outgoing, {"name": name, "dtype": data.dtype.str, "shape": data.shape}, data.tobytes())


class _Worker:
    """One process; restarted when it hangs or dies."""

    def __init__(self, setting: dict[str, Any], timeout_s: float) -> None:
        self.setting, self.timeout_s = setting, timeout_s
        self.process: subprocess.Popen[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        package_root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(item for item in (package_root, os.environ.get("PYTHONPATH", "")) if item)
        process = subprocess.Popen(
            [sys.executable, "-m", "omnifuse.data.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert process.stdin is not None
        _send(process.stdin, self.setting)
        return process

    def ask(self, cell: Any) -> dict[str, np.ndarray] | str:
        """Decode one cell; a reason where it cannot be, or where the process hung or died over it."""
        self.process = self.process or self._start()
        process = self.process
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        watchdog = threading.Timer(self.timeout_s, kill)
        watchdog.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                if isinstance(cell, str | Path):
                    _send(process.stdin, {"path": str(cell)})
                else:
                    _send(process.stdin, {}, bytes(cell))
            message = _receive(process.stdout)
        except (OSError, ValueError):
            message = None
        finally:
            watchdog.cancel()
        if message is None:
            self.stop()
            named = f"'{cell}'" if isinstance(cell, str | Path) else "the medium"
            if late.is_set():
                return f"decoding {named} took longer than {self.timeout_s:.0f} s and was stopped"
            return f"the process that decoded {named} was killed (out of memory, or the file breaks the decoder)"
        header, body = message
        if "error" in header:
            return str(header["error"])
        return {header["name"]: np.frombuffer(body, np.dtype(header["dtype"])).reshape(header["shape"])}

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self.process.wait()
            self.process = None


class WorkerPool:
    """Some workers; started at the first use and ended with the `with` block.

    Args:
        count: Number of processes.
        timeout_s: Longest time for one medium.
    """

    def __init__(self, count: int, *, timeout_s: float = TIMEOUT_S) -> None:
        self.count, self.timeout_s = count, timeout_s

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def decode(self, cells: Sequence[Any], preprocessor: Any, door: MediaDoor) -> Iterator[dict[str, np.ndarray] | str]:
        """Decode media.

        Args:
            cells: Paths, bytes, or objects that are already decoded (these stay in this process).
            preprocessor: Of their input.
            door: Root folder and limits.

        Returns:
            For each cell, in order, its arrays or the reason why it cannot be read.
        """
        setting = {
            "preprocessor": preprocessors_to_json({"": preprocessor})[""],
            "root": str(door.root) if door.root is not None else None,
            "confined": door.confined,
            "limits": asdict(door.limits),
        }
        answers: list[Any] = [None] * len(cells)
        work: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number, cell in enumerate(cells):
            if isinstance(cell, str | Path | bytes | bytearray):
                work.put(number)
            else:
                answers[number] = decode_cell(cell, preprocessor, door)
        threads = [threading.Thread(target=self._run, args=(setting, cells, work, answers)) for _ in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return iter(answers)

    def _run(
        self, setting: dict[str, Any], cells: Sequence[Any], work: queue.SimpleQueue[int], answers: list[Any]
    ) -> None:
        worker = _Worker(setting, self.timeout_s)
        try:
            while True:
                number = work.get_nowait()
                answers[number] = worker.ask(cells[number])
        except queue.Empty:
            pass
        finally:
            worker.stop()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
