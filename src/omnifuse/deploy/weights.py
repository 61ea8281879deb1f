"""Weights on disk: safetensors files, read with every number of the header checked before use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.errors import ArtefactError

MAX_HEADER_BYTES = 16 * 1024 * 1024
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_FIX = "Get the file again from where it was made"


def encode_weights(tensors: dict[str, np.ndarray]) -> bytes:
    """Encode named arrays as one safetensors file.

    Args:
        tensors: Name to array of a dtype in `DTYPES`; any shape.

    Returns:
        The bytes of the file; equal input gives equal bytes.
    """
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    offset = 0
    names = {np.dtype(numpy_name): name for name, numpy_name in DTYPES.items()}
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        chunk = array.tobytes()
        header[name] = {
            "dtype": names[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(chunk)],
        }
        offset += len(chunk)
        chunks.append(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(chunks)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _header(handle: Any, size: int, where: str) -> tuple[dict[str, Any], int]:
    """Read and bound the header before anything of its promised size is allocated."""
    length = int.from_bytes(handle.read(8), "little")
    if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
        raise ArtefactError("the weights file is not a safetensors file or is cut short", where=where, fix=_FIX)
    try:
        header = json.loads(handle.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"the header of the weights file is damaged ({error})", where=where, fix=_FIX) from None
    if not isinstance(header, dict):
        raise ArtefactError("the header of the weights file is not a table of tensors", where=where, fix=_FIX)
    header.pop("__metadata__", None)
    return header, 8 + length


def _spans(header: dict[str, Any], body: int, where: str) -> list[tuple[str, np.dtype[Any], tuple[int, ...], int, int]]:
    """Check that the tensors tile the body exactly: no overlap, no hole, sizes as dtype and shape say."""
    spans = []
    for name, entry in header.items():
        try:
            dtype = np.dtype(DTYPES[entry["dtype"]])
            shape = tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            numbers = (*shape, begin, end)
            sound = all(type(number) is int and number >= 0 for number in numbers) and len(shape) <= 8
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound or end - begin != dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise ArtefactError(f"tensor '{name}' of the weights file has a wrong entry", where=where, fix=_FIX)
        spans.append((name, dtype, shape, begin, end))
    spans.sort(key=lambda span: (span[3], span[4]))
    position = 0
    for name, _, _, begin, end in spans:
        if begin != position:
            raise ArtefactError(f"tensor '{name}' overlaps another or leaves a hole", where=where, fix=_FIX)
        position = end
    if position != body:
        raise ArtefactError(f"the tensors end at byte {position}, the file at {body}", where=where, fix=_FIX)
    return spans


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file; nothing in it is ever executed.

    Args:
        path: The file.

    Returns:
        Name to array.

    Raises:
        ArtefactError: If the file is foreign (a pickle renamed, say), cut, overlapping, or lies about sizes.
    """
    where = path.name
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            header, start = _header(handle, size, where)
            spans = _spans(header, size - start, where)
            data = handle.read()
    except OSError as error:
        raise ArtefactError(f"the weights file cannot be read ({error.strerror})", where=where, fix=_FIX) from None
    return {
        name: np.frombuffer(data[begin:end], dtype=dtype).reshape(shape) for name, dtype, shape, begin, end in spans
    }
