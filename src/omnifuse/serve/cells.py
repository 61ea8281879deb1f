"""Values of a request to cells of a table. Media come as bytes or base64; nothing names a file of the server."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any

from omnifuse.data.media_parts import MOST_PARTS
from omnifuse.data.media_series import is_series_text
from omnifuse.errors import MediaError
from omnifuse.schema import Modality
from omnifuse.serve.columns import Columns
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError

_BLANKS = {ord(mark): None for mark in " \t\r\n"}
_FIX = 'Send the content of the file as base64: {"base64": "..."}'
# What a value that is neither text nor number may be
_LISTS = {Modality.TAGS: (list,), Modality.PLACE: (list, dict), Modality.SERIES: (list, dict)}


def from_base64(text: str, limits: ServeLimits) -> bytes:
    """The bytes of a base64 text.

    Raises:
        RequestError: 413 where they would be too many.
        MediaError: It is no base64, such as a path or an address.
    """
    if len(text) * 3 // 4 > limits.max_medium_bytes + 3:
        raise RequestError(413, f"one medium has more than {limits.max_medium_bytes >> 20} MB", fix="Make it smaller")
    try:
        data = binascii.a2b_base64(text.translate(_BLANKS), strict_mode=True)
    except (binascii.Error, ValueError):
        raise MediaError("not base64; the server opens no path and no address", fix=_FIX) from None
    if not data:
        raise MediaError("the medium is empty (0 bytes)")
    return data


def _medium(value: Any, limits: ServeLimits) -> Any:
    """Bytes of one medium, or a decoded array that a stream has made."""
    if isinstance(value, str):
        return from_base64(value, limits) if value.strip() else None
    if isinstance(value, Mapping):
        if set(value) == {"base64"} and isinstance(value["base64"], str):
            return _medium(value["base64"], limits)
        raise MediaError('an object other than {"base64": "..."}', fix=_FIX)
    if isinstance(value, bytes):
        if len(value) > limits.max_medium_bytes:
            raise RequestError(
                413, f"one medium has more than {limits.max_medium_bytes >> 20} MB", fix="Make it smaller"
            )
        return value or None
    if value is None or type(value).__module__ == "numpy" or isinstance(value, tuple):
        return value
    raise MediaError(f"a medium cannot be a {_kind(value)}", fix=_FIX)


def _media(value: Any, limits: ServeLimits) -> Any:
    """One medium or a list of them."""
    if not isinstance(value, list):
        return _medium(value, limits)
    if len(value) > MOST_PARTS:
        raise MediaError(f"{len(value)} media in one cell, at most {MOST_PARTS} are read")
    found = [_medium(part, limits) for part in value if not isinstance(part, list)]
    if len(found) != len(value):
        raise MediaError("a list inside a list of media", fix=_FIX)
    return [part for part in found if part is not None] or None


def _series(value: Any, limits: ServeLimits) -> Any:
    """A list, an object with times, JSON text, or the bytes of a file."""
    if isinstance(value, str) and value.strip():
        return value if is_series_text(value) else _medium(value, limits)
    if isinstance(value, Mapping) and set(value) == {"base64"}:
        return _medium(value, limits)
    return value


def _plain(modality: Modality) -> Callable[[Any, ServeLimits], Any]:
    def read(value: Any, limits: ServeLimits) -> Any:
        if isinstance(value, bytes):
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError:
                raise MediaError("the text is not UTF-8") from None
        if isinstance(value, list | dict) and not isinstance(value, _LISTS.get(modality, ())):
            raise MediaError(f"{_kind(value)} where a text or a number is expected")
        return value

    return read


_READERS: dict[Modality, Callable[[Any, ServeLimits], Any]] = {modality: _plain(modality) for modality in Modality}
_READERS |= {Modality.IMAGE: _media, Modality.AUDIO: _media, Modality.VIDEO: _medium, Modality.SERIES: _series}


def _kind(value: Any) -> str:
    names: dict[type, str] = {list: "list", dict: "object", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "value of this kind")


def read_row(
    row: Any, columns: Columns, limits: ServeLimits, *, where: str = "row 1"
) -> tuple[dict[str, Any], list[str]]:
    """Cells of one row, and a sentence for each that could not be read and counts as missing.

    Args:
        row: Field to value; fields may be absent.
        columns: Of the model.
        limits: Bounds of one medium.
        where: Names the row in messages.

    Raises:
        RequestError: The row is no object, has an unknown field (422), or a medium is too large (413).
    """
    if not isinstance(row, Mapping):
        raise RequestError(
            422, f"{where} is not an object", fix=f'Send {{"field": value}} with {", ".join(columns.known[:6])}'
        )
    columns.check(row, where)
    cells: dict[str, Any] = {}
    warnings: list[str] = []
    for name, value in row.items():
        if name in columns.unused:
            continue
        modality = columns.fields.get(name, Modality.TEXT)
        modality = Modality.NUMBER if name in columns.parts else modality
        try:
            cells[name] = _READERS[modality](value, limits)
        except MediaError as error:
            cells[name] = None
            warnings.append(f"{name}: {error}")
    return cells, warnings
