"""What the tables of an MP4 file declare, checked before a decoder lays them out in memory.

A sample table of a few bytes can stand for four thousand million frames, and the library below would make an entry of
each. So the boxes are walked first: nothing is decoded, and only counts are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from omnifuse.errors import MediaError

# 9 hours at 60 frames a second
MOST_SAMPLES = 1 << 21
_CONTAINERS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex"))
_MOST_BOXES = 100_000
_LARGEST_TABLE = 64 * 2**20


def check_boxes(file: Any, size: int, where: str) -> None:
    """Refuse an MP4 whose tables declare more samples than any video has.

    Args:
        file: Opened for reading; is left somewhere within.
        size: Its bytes.
        where: For error messages.

    Raises:
        MediaError: They do.
    """
    total, is_sound = 0, False
    for kind, start, end in _boxes(file, size):
        if kind == b"hdlr":
            is_sound = _read(file, start + 8, 4) == b"soun"
        elif kind == b"stsz":
            _check_sizes(_read(file, start + 4, 8), size, end - start, where)
        elif kind == b"ctts":
            _check_total(_counts(file, start, end), where)
        elif kind == b"stts":
            counts = _counts(file, start, end)
            # Raw sound has one entry with a step of one, and no table is made of it
            if not is_sound or len(counts) != 1 or _read(file, start + 12, 4) != b"\0\0\0\1":
                _check_total(counts, where)
        elif kind == b"trun":
            total += struct.unpack(">I", _read(file, start + 4, 4).ljust(4, b"\0"))[0]
            _check_total(np.array([total]), where)


def _boxes(file: Any, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content and end of every box of interest, depth first."""
    waiting, met = [(0, size)], 0
    while waiting:
        place, end = waiting.pop()
        while place + 8 <= end:
            met += 1
            if met > _MOST_BOXES:
                return
            head = _read(file, place, 16)
            if len(head) < 8:
                return
            length, kind = struct.unpack(">I4s", head[:8])
            start = place + 8
            if length == 1 and len(head) == 16:
                length, start = struct.unpack(">Q", head[8:])[0], place + 16
            last = end if length == 0 else min(place + length, end)
            if last < start:
                break
            if kind in _CONTAINERS:
                waiting.append((last, end))
                waiting.append((start, last))
                break
            yield kind, start, last
            place = last


def _read(file: Any, place: int, count: int) -> bytes:
    file.seek(place)
    return bytes(file.read(count))


def _counts(file: Any, start: int, end: int) -> np.ndarray:
    """The counts of a table of (count, value): what the box holds, whatever it declares."""
    data = _read(file, start + 8, min(end - start - 8, _LARGEST_TABLE))
    whole = np.frombuffer(data[: len(data) // 8 * 8], ">u4").reshape(-1, 2)
    return np.asarray(whole[:, 0], np.int64)


def _check_sizes(head: bytes, file_size: int, box_size: int, where: str) -> None:
    if len(head) < 8:
        return
    one, count = struct.unpack(">II", head)
    # Samples of one size need no table, but each of them is in the file
    if count * one > file_size if one else count > min(box_size // 4, MOST_SAMPLES):
        _refuse(count, where)


def _check_total(counts: np.ndarray, where: str) -> None:
    total = int(counts.sum())
    if total > MOST_SAMPLES:
        _refuse(total, where)


def _refuse(count: int, where: str) -> None:
    raise MediaError(f"The video declares {count} frames, which cannot be", where=where, fix="Convert it again")
