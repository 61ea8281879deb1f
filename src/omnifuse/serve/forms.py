"""Multipart bodies: one part a field, as browsers and `curl -F` send them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from omnifuse.serve.json_body import parse_json
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError

_NUMBERED = re.compile(r"(\d{1,6})\.(.+)", re.DOTALL)
_MOST_HEADER_BYTES = 4096


class _Parts:
    """Collects the parts of one body."""

    def __init__(self, limits: ServeLimits) -> None:
        self.limits = limits
        self.found: list[tuple[str, bool, bytes]] = []
        self._header = self._value = b""
        self._disposition = b""
        self._header_bytes = 0
        self._data: list[bytes] = []

    def begin(self) -> None:
        if len(self.found) >= self.limits.max_parts:
            raise RequestError(413, f"more than {self.limits.max_parts} parts in one request")
        self._header = self._value = self._disposition = b""
        self._header_bytes, self._data = 0, []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += self._bounded(data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._bounded(data[start:end])

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise RequestError(400, "a part of the form has no name", fix="Name it after its field")
        self.found.append((name, b"filename" in options, b"".join(self._data)))

    def _bounded(self, piece: bytes) -> bytes:
        self._header_bytes += len(piece)
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise RequestError(413, "a part of the form has too many headers")
        return piece


def form_parts(body: bytes, content_type: str, limits: ServeLimits) -> list[tuple[str, bool, bytes]]:
    """Name, whether it is a file, and content of each part.

    Raises:
        RequestError: 400 for a broken form, 413 for too many parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary or len(boundary) > 200:
        raise RequestError(400, "the form has no boundary", fix="Let the client set the content type")
    parts, ended = _Parts(limits), False

    def finished() -> None:
        nonlocal ended
        ended = True

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_part_data": parts.data,
            "on_part_end": parts.end,
            "on_header_field": parts.header_field,
            "on_header_value": parts.header_value,
            "on_header_end": parts.header_end,
            "on_end": finished,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise RequestError(400, "the form is damaged") from None
    if not ended:
        raise RequestError(400, "the form ends before its last boundary", fix="Send it again")
    return parts.found


def parse_form(body: bytes, content_type: str, limits: ServeLimits) -> dict[str, Any]:
    """A form as `{"rows": [...]}`.

    A part is named after its field, or `N.field` for row N from 0 on; a file stays bytes, another part is text. The
    part `rows` may hold rows as JSON, which files are added to, and `proba` is `true` or `false`. Several files of one
    name are several media of one cell.

    Raises:
        RequestError: 4xx.
    """
    question: dict[str, Any] = {}
    cells: dict[int, dict[str, Any]] = {}
    for name, is_file, content in form_parts(body, content_type, limits):
        if name in ("rows", "history") and not is_file:
            given = parse_json(content, limits)
            question[name] = given.get(name, given) if isinstance(given, Mapping) else given
        elif name == "proba" and not is_file:
            question[name] = {b"true": True, b"false": False}.get(content.strip().lower())
        else:
            numbered = _NUMBERED.fullmatch(name)
            number, field = (int(numbered[1]), numbered[2]) if numbered else (0, name)
            if number >= limits.max_rows:
                raise RequestError(413, f"row {number} in one request, at most {limits.max_rows} rows")
            _add(cells.setdefault(number, {}), field, content if is_file else _text(content))
    return _with_cells(question, cells)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError(400, "a text of the form is not UTF-8") from None


def _add(row: dict[str, Any], field: str, value: Any) -> None:
    if field not in row:
        row[field] = value
    elif isinstance(value, bytes) and isinstance(row[field], bytes | list):
        row[field] = [*(row[field] if isinstance(row[field], list) else [row[field]]), value]
    else:
        raise RequestError(400, f"the field '{field[:40]}' stands twice in the form")


def _with_cells(question: dict[str, Any], cells: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The rows of the part `rows` with the cells that came as parts of their own."""
    if not cells:
        return question
    rows = question.get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise RequestError(422, "'rows' is not a list of objects")
    last = max(cells)
    rows = [dict(row) for row in rows] + [{} for _ in range(len(rows), last + 1)]
    for number, found in cells.items():
        for field, value in found.items():
            if field in rows[number]:
                raise RequestError(400, f"the field '{field[:40]}' of row {number} is given twice")
            rows[number][field] = value
    return {**question, "rows": rows}
