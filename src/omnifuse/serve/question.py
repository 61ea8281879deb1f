"""A request's body to rows of cells: JSON or multipart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from omnifuse.serve.cells import read_row
from omnifuse.serve.columns import Columns
from omnifuse.serve.json_body import parse_json
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError

_KEYS = ("rows", "history", "proba")
_EXPLAINED = ("rows", "history", "parts")
_SHAPE = 'Send {"rows": [{"field": value}]}'


@dataclass(frozen=True)
class Question:
    """Rows to answer.

    Attributes:
        rows: Column to cell of each row.
        warnings: Of each row, what was refused before it was decoded.
        history: Earlier rows, for a model that reads them, or None.
        proba: Whether the probability of each class is wanted.
        parts: Of an explanation, whether it looks inside of the fields too.
    """

    rows: list[dict[str, Any]]
    warnings: list[list[str]]
    history: list[dict[str, Any]] | None = None
    proba: bool = False
    parts: bool = True


def read_question(data: Any, columns: Columns, limits: ServeLimits, *, explained: bool = False) -> Question:
    """Check parsed JSON, `{"rows": [...], "history": [...], "proba": false}`; `parts` where rows are to be explained.

    Raises:
        RequestError: 4xx, see `read_row`; 413 for too many rows.
    """
    if not isinstance(data, Mapping) or "rows" not in data:
        raise RequestError(422, "the body has no 'rows'", fix=_SHAPE)
    keys = _EXPLAINED if explained else _KEYS
    for name, value in data.items():
        if name not in keys:
            raise RequestError(422, f"unknown key '{name[:60]}' beside 'rows'", fix=f"Known: {', '.join(keys)}")
        if name == keys[-1] and not isinstance(value, bool):
            raise RequestError(422, f"'{name}' is neither true nor false")
    found = _rows(data["rows"], "row", columns, limits)
    if not found:
        raise RequestError(422, "'rows' is empty", fix=_SHAPE)
    history = None
    if data.get("history") is not None:
        history = [row for row, _ in _rows(data["history"], "history row", columns, limits)] or None
    rows, warnings = [row for row, _ in found], [words for _, words in found]
    return Question(rows, warnings, history, data.get("proba", False), data.get("parts", True))


def _rows(data: Any, name: str, columns: Columns, limits: ServeLimits) -> list[tuple[dict[str, Any], list[str]]]:
    if not isinstance(data, list):
        raise RequestError(422, f"'{'rows' if name == 'row' else 'history'}' is not a list", fix=_SHAPE)
    most = limits.max_rows if name == "row" else max(limits.max_rows, 10_000)
    if len(data) > most:
        raise RequestError(413, f"{len(data)} rows in one request, at most {most}", fix="Send several requests")
    return [read_row(row, columns, limits, where=f"{name} {number + 1}") for number, row in enumerate(data)]


def parse_question(
    body: bytes, content_type: str, columns: Columns, limits: ServeLimits, *, explained: bool = False
) -> Question:
    """Read a body.

    Args:
        body: As it came.
        content_type: Its header; JSON where it is empty.
        columns: Of the model.
        limits: Bounds.
        explained: Whether the rows are to be explained: fewer of them are read.

    Raises:
        RequestError: 4xx; 415 for another content type.
    """
    if explained:
        limits = replace(limits, max_rows=min(limits.max_explained_rows, limits.max_rows))
    kind = content_type.split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        from omnifuse.serve.forms import parse_form

        return read_question(parse_form(body, content_type, limits), columns, limits, explained=explained)
    if kind in ("", "application/json") or kind.endswith("+json"):
        return read_question(parse_json(body, limits), columns, limits, explained=explained)
    raise RequestError(415, f"the content type '{kind[:60]}' is not read", fix="Send JSON or multipart/form-data")
