"""Media decoded by other processes under a watchdog: a medium that hangs or kills its decoder costs one cell.

Parent and worker speak length-prefixed JSON headers with raw arrays behind them, so nothing is ever unpickled, and a
user's script needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from omnifuse.data.cache import MediaCache
from omnifuse.data.decoded import CUT, REPAIRED, UNREAD, DecodedMedium
from omnifuse.data.media import LoadedFile, MediaDoor, MediaLimits
from omnifuse.data.media_paths import shown_name
from omnifuse.data.media_track import NoSoundError
from omnifuse.data.preprocessors import preprocessors_from_json, preprocessors_to_json
from omnifuse.errors import MediaError, OmnifuseError

TIMEOUT_S = 60.0
START_TIMEOUT_S = 120.0
_LENGTH = struct.Struct("<IQ")
# A worker always has the next cells at hand. What waits must fit the smallest pipe, else both sides could wait for the
# other to read.
_MOST_WAITING, _MOST_WAITING_BYTES = 4, 4096
# JPEGs are decoded at no less than this many times the wanted size; below that the cheap reduction would show
_JPEG_MARGIN = 2
# Decoded behind the part that is used, so that resampling has no edge there and cut sounds can be told
_SOUND_MARGIN_S = 0.1


def decode_cell(cell: Any, preprocessor: Any, door: MediaDoor) -> DecodedMedium | str:
    """The arrays of one medium with remarks on what was changed, or the reason why it cannot be read.

    A video without a sound track, whose sound is asked for, gives arrays of length 0.
    """
    try:
        if preprocessor.kind == "image":
            side = _JPEG_MARGIN * max(preprocessor.height, preprocessor.width)
            repairs: list[str] = []
            pixels = door.image(cell, min_side=side, remarks=repairs)
            return DecodedMedium(preprocessor(pixels), [(REPAIRED, text) for text in repairs])
        if preprocessor.kind == "series":
            return _decode_series(cell, preprocessor, door)
        if preprocessor.kind == "video":
            return _decode_video(cell, preprocessor, door)
        return _decode_sound(cell, preprocessor, door)
    except NoSoundError:
        return DecodedMedium(preprocessor.empty())
    except MediaError as error:
        return str(error)
    except MemoryError:
        return f"There is not enough memory to decode {_named(cell)}."


def _decode_series(cell: Any, preprocessor: Any, door: MediaDoor) -> DecodedMedium:
    unread: list[str] = []
    arrays: DecodedMedium = preprocessor(door.series(cell, remarks=unread))
    return DecodedMedium(arrays, [*((UNREAD, text) for text in unread), *arrays.remarks])


def _decode_video(cell: Any, preprocessor: Any, door: MediaDoor) -> DecodedMedium:
    side = _JPEG_MARGIN * max(preprocessor.height, preprocessor.width)
    longest = min(preprocessor.max_seconds, door.limits.max_video_s)
    clip = door.video(cell, num_frames=preprocessor.num_frames, max_s=longest, min_side=side)
    remarks = [(CUT, f"only the first {longest:g} s are used")] if clip.is_cut else []
    return DecodedMedium(preprocessor((clip.pixels, clip.time_s)), remarks)


def _decode_sound(cell: Any, preprocessor: Any, door: MediaDoor) -> DecodedMedium:
    repairs: list[str] = []
    longest = preprocessor.max_seconds + _SOUND_MARGIN_S
    samples = door.audio(cell, preprocessor.rate_hz, max_s=longest, remarks=repairs)
    remarks = [(REPAIRED, text) for text in repairs]
    # Where the door itself stops before the margin, a sound that comes that far has more behind it
    door_s = door.limits.max_audio_s
    stopped = door_s <= preprocessor.max_seconds and len(samples) >= int(door_s * preprocessor.rate_hz)
    if stopped or preprocessor.is_cut(samples):
        remarks.append((CUT, f"only the first {min(preprocessor.max_seconds, door_s):g} s are used"))
    return DecodedMedium(preprocessor(samples), remarks)


def decode_once(cell: Any, preprocessor: Any, door: MediaDoor, cache: MediaCache | None) -> DecodedMedium | str:
    """As `decode_cell`, but from the cache where the content is known there; the file is read once for both."""
    if cache is None:
        return decode_cell(cell, preprocessor, door)
    try:
        content = door.loaded(cell)
        key = door.content_key(content)
    except MediaError as error:
        return str(error)
    except MemoryError:
        return f"There is not enough memory to decode {_named(cell)}."
    known = cache.get(key, preprocessor)
    if known is not None:
        return known
    answer = decode_cell(content, preprocessor, door)
    if not isinstance(answer, str):
        cache.put(key, preprocessor, answer)
    return answer


def _named(cell: Any) -> str:
    name = cell.name if isinstance(cell, LoadedFile) else cell
    return f"'{shown_name(name)}'" if isinstance(name, str | Path) else "the medium"


def _send(stream: IO[bytes], header: dict[str, Any], body: bytes | bytearray = b"") -> None:
    text = json.dumps(header).encode()
    stream.write(_LENGTH.pack(len(text), len(body)) + text)
    if body:
        stream.write(body)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None at the end of the stream, be it within a message."""
    start = stream.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        return None
    text_size, body_size = _LENGTH.unpack(start)
    text = stream.read(text_size)
    body = stream.read(body_size)
    if len(text) < text_size or len(body) < body_size:
        return None
    return json.loads(text), body


def serve(incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """The worker's side: read a setting or a cell, answer with an array or a reason, until the pipe closes."""
    preprocessor: Any = None
    door, cache = MediaDoor(), None
    while (message := _receive(incoming)) is not None:
        header, body = message
        if "preprocessor" in header:
            preprocessor = preprocessors_from_json({"": header["preprocessor"]})[""]
            root = Path(header["root"]) if header["root"] else None
            door = MediaDoor(root=root, confined=header["confined"], limits=MediaLimits(**header["limits"]))
            cache = MediaCache(Path(header["cache"])) if header.get("cache") else None
            _send(outgoing, {"ready": True})
            continue
        cell = header.get("path", body)
        try:
            answer = decode_once(cell, preprocessor, door, cache)
        except Exception as error:
            answer = f"decoding {_named(cell)} failed: {type(error).__name__}"
        if isinstance(answer, str):
            _send(outgoing, {"error": answer})
        else:
            about = [{"name": name, "dtype": array.dtype.str, "shape": array.shape} for name, array in answer.items()]
            body = b"".join(array.tobytes() for array in answer.values())
            _send(outgoing, {"arrays": about} | ({"remarks": answer.remarks} if answer.remarks else {}), body)


class _Worker:
    """One process; started when needed, again where it hung or died."""

    def __init__(self, setting: dict[str, Any], timeout_s: float) -> None:
        self.setting, self.timeout_s = setting, timeout_s
        self.process: subprocess.Popen[bytes] | None = None
        self.deadline: float | None = None
        self.late = self.stopping = False

    def check(self) -> None:
        """Called by the watchdog now and then."""
        deadline, process = self.deadline, self.process
        if deadline is not None and process is not None and time.monotonic() > deadline:
            self.late = True
            process.kill()

    def kill(self) -> None:
        """End the process from another thread; the worker's own one then cleans up."""
        process = self.process
        if process is not None:
            process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        package_root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(item for item in (package_root, os.environ.get("PYTHONPATH", "")) if item)
        self.late = False
        self.deadline = time.monotonic() + max(START_TIMEOUT_S, self.timeout_s)
        process = self.process = subprocess.Popen(
            # -P: a module in the working directory must not take the place of one of Python's own
            [sys.executable, "-P", "-m", "omnifuse.data.workers", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        ready = None
        with contextlib.suppress(OSError, ValueError):
            _send(process.stdin, self.setting)
            ready = _receive(process.stdout)
        if ready is None:
            raise OmnifuseError(
                "The process that decodes media does not start", fix="Look at its message above, or use num_workers=0"
            )
        return process

    def run(self, cells: Sequence[Any], work: queue.SimpleQueue[int], answers: list[Any]) -> None:
        """Answer cells until none is left."""
        waiting: deque[int] = deque()
        sent = 0
        while True:
            while len(waiting) < _MOST_WAITING:
                with contextlib.suppress(queue.Empty):
                    waiting.append(work.get_nowait())
                    continue
                break
            if not waiting or self.stopping:
                return
            if self.process is None:
                self._start()
                sent = 0
                if self.stopping:
                    return
            sent = self._hand_over(cells, waiting, sent)
            answer = self._answer()
            number = waiting.popleft()
            sent -= 1
            answers[number] = self._obituary(cells[number]) if answer is None else answer

    def _hand_over(self, cells: Sequence[Any], waiting: deque[int], sent: int) -> int:
        """Send the waiting cells behind the first `sent`, as many as surely fit the pipe; the first one always."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.deadline = time.monotonic() + self.timeout_s
        room = _MOST_WAITING_BYTES - sum(_size(cells[number]) for number in list(waiting)[:sent])
        for number in list(waiting)[sent:]:
            cell = cells[number]
            room -= _size(cell)
            if sent and room < 0:
                break
            with contextlib.suppress(OSError, ValueError):
                if isinstance(cell, str | Path):
                    _send(self.process.stdin, {"path": str(cell)})
                else:
                    _send(self.process.stdin, {}, cell)
            sent += 1
        return sent

    def _answer(self) -> DecodedMedium | str | None:
        """To the oldest cell that was sent; None where the process ended over it."""
        assert self.process is not None
        assert self.process.stdout is not None
        try:
            message = _receive(self.process.stdout)
        except (OSError, ValueError):
            message = None
        self.deadline = None
        if message is None:
            return None
        header, body = message
        if "error" in header:
            return str(header["error"])
        arrays, place = {}, 0
        for about in header["arrays"]:
            kind, shape = np.dtype(about["dtype"]), about["shape"]
            count = math.prod(shape)
            arrays[about["name"]] = np.frombuffer(body, kind, count, place).reshape(shape)
            place += count * kind.itemsize
        return DecodedMedium(arrays, header.get("remarks", ()))

    def _obituary(self, cell: Any) -> str:
        late = self.late
        self.stop()
        if late:
            return f"decoding {_named(cell)} took longer than {self.timeout_s:g} s and was stopped"
        return f"the process that decoded {_named(cell)} was killed (out of memory, or the file breaks the decoder)"

    def stop(self) -> None:
        """End the process."""
        process, self.process, self.deadline = self.process, None, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError, ValueError):
                        stream.close()


def _size(cell: Any) -> int:
    """Upper limit of a cell's message in bytes."""
    return 64 + (len(json.dumps(str(cell))) if isinstance(cell, str | Path) else len(cell))


class WorkerPool:
    """Some processes that decode media; each call of `decode` starts and ends its own.

    Args:
        count: Number of processes, at least 1.
        timeout_s: Longest time for one medium.
        cache_dir: Folder of decoded media, or None for none.
    """

    def __init__(self, count: int, *, timeout_s: float = TIMEOUT_S, cache_dir: Path | None = None) -> None:
        self.count, self.timeout_s, self.cache_dir = max(1, count), timeout_s, cache_dir

    def __enter__(self) -> WorkerPool:
        """The pool itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to end."""

    def decode(self, cells: Sequence[Any], preprocessor: Any, door: MediaDoor) -> Iterator[DecodedMedium | str]:
        """Decode media.

        Args:
            cells: Paths, bytes, or objects that are already decoded (these stay in this process).
            preprocessor: Of their input.
            door: Root folder and limits.

        Returns:
            For each cell, in order, its arrays or the reason why it cannot be read; each is let go once it is handed
            out.

        Raises:
            OmnifuseError: The processes do not start at all.
        """
        setting = {
            "preprocessor": preprocessors_to_json({"": preprocessor})[""],
            "root": str(door.root) if door.root is not None else None,
            "confined": door.confined,
            "limits": asdict(door.limits),
            "cache": str(self.cache_dir) if self.cache_dir is not None else None,
        }
        cache = MediaCache(self.cache_dir) if self.cache_dir is not None else None
        answers: list[Any] = [None] * len(cells)
        work: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number, cell in enumerate(cells):
            too_long = isinstance(cell, bytes | bytearray) and len(cell) > door.limits.max_file_bytes
            if isinstance(cell, str | Path | bytes | bytearray) and not too_long:
                work.put(number)
            else:
                answers[number] = decode_once(cell, preprocessor, door, cache)
        if not work.empty():
            self._run(setting, cells, work, answers)
        answers.reverse()
        return (answers.pop() for _ in range(len(answers)))

    def _run(
        self, setting: dict[str, Any], cells: Sequence[Any], work: queue.SimpleQueue[int], answers: list[Any]
    ) -> None:
        workers = [_Worker(setting, self.timeout_s) for _ in range(min(self.count, work.qsize()))]
        # Not `Thread.join`: Python 3.11 takes a thread for ended whose join was interrupted
        finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def run(worker: _Worker) -> None:
            failure: BaseException | None = None
            try:
                worker.run(cells, work, answers)
            except BaseException as error:
                failure = error
            worker.stop()
            finished.put(failure)

        for worker in workers:
            threading.Thread(target=run, args=(worker,), daemon=True).start()
        pause = min(0.25, self.timeout_s / 4)
        running = len(workers)
        try:
            while running:
                with contextlib.suppress(queue.Empty):
                    failure = finished.get(timeout=pause)
                    running -= 1
                    if failure is not None:
                        raise failure
                for worker in workers:
                    worker.check()
        finally:
            # Reached early by an interrupt or a failure: nothing goes on behind the caller's back
            for worker in workers:
                worker.stopping = True
            while running:
                # Again and again: a process that is just being started shows only a moment later
                for worker in workers:
                    worker.kill()
                with contextlib.suppress(queue.Empty):
                    finished.get(timeout=pause)
                    running -= 1


def _leave_with_parent(parent: int) -> None:
    """End this process once its parent is gone, even while a decoder hangs."""
    while os.getppid() == parent:
        time.sleep(2.0)
    os._exit(1)


if __name__ == "__main__":
    # Ctrl-C is the parent's business, and whatever a decoder prints must not get between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_leave_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
    serve(sys.stdin.buffer, answers_to)
