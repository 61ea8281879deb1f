"""A request's body to rows of cells: JSON or multipart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omnifuse.serve.cells import read_row
from omnifuse.serve.columns import Columns
from omnifuse.serve.json_body import parse_json
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError

_KEYS = ("rows", "history", "proba")
_SHAPE = 'Send {"rows": [{"field": value}]}'


@dataclass(frozen=True)
class Question:
    """Rows to answer.

    Attributes:
        rows: Column to cell of each row.
        warnings: Of each row, what was refused before it was decoded.
        history: Earlier rows, for a model that reads them, or None.
        proba: Whether the probability of each class is wanted.
    """

    rows: list[dict[str, Any]]
    warnings: list[list[str]]
    history: list[dict[str, Any]] | None = None
    proba: bool = False


def read_question(data: Any, columns: Columns, limits: ServeLimits) -> Question:
    """Check parsed JSON, `{"rows": [...], "history": [...], "proba": false}`.

    Raises:
        RequestError: 4xx, see `read_row`; 413 for too many rows.
    """
    if not isinstance(data, Mapping) or "rows" not in data:
        raise RequestError(422, "the body has no 'rows'", fix=_SHAPE)
    for name in data:
        if name not in _KEYS:
            raise RequestError(422, f"unknown key '{name[:60]}' beside 'rows'", fix=f"Known: {', '.join(_KEYS)}")
    if not isinstance(data.get("proba", False), bool):
        raise RequestError(422, "'proba' is neither true nor false")
    found = _rows(data["rows"], "row", columns, limits)
    if not found:
        raise RequestError(422, "'rows' is empty", fix=_SHAPE)
    history = None
    if data.get("history") is not None:
        history = [row for row, _ in _rows(data["history"], "history row", columns, limits)] or None
    return Question([row for row, _ in found], [words for _, words in found], history, data.get("proba", False))


def _rows(data: Any, name: str, columns: Columns, limits: ServeLimits) -> list[tuple[dict[str, Any], list[str]]]:
    if not isinstance(data, list):
        raise RequestError(422, f"'{'rows' if name == 'row' else 'history'}' is not a list", fix=_SHAPE)
    most = limits.max_rows if name == "row" else max(limits.max_rows, 10_000)
    if len(data) > most:
        raise RequestError(413, f"{len(data)} rows in one request, at most {most}", fix="Send several requests")
    return [read_row(row, columns, limits, where=f"{name} {number + 1}") for number, row in enumerate(data)]


def parse_question(body: bytes, content_type: str, columns: Columns, limits: ServeLimits) -> Question:
    """Read a body.

    Args:
        body: As it came.
        content_type: Its header; JSON where it is empty.
        columns: Of the model.
        limits: Bounds.

    Raises:
        RequestError: 4xx; 415 for another content type.
    """
    kind = content_type.split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        from omnifuse.serve.forms import parse_form

        return read_question(parse_form(body, content_type, limits), columns, limits)
    if kind in ("", "application/json") or kind.endswith("+json"):
        return read_question(parse_json(body, limits), columns, limits)
    raise RequestError(415, f"the content type '{kind[:60]}' is not read", fix="Send JSON or multipart/form-data")
