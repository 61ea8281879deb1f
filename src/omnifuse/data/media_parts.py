"""Cells that hold several pictures or sounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MOST_PARTS = 16
_BETWEEN = "|"


def media_parts(cell: Any) -> list[Any]:
    """The media of one cell.

    Several stand in a list or tuple (of anything but numbers), in a text with "|" between the paths, or in a JSON list
    of paths; anything else is one medium, also a sound given as (array, rate). Missing parts are left out.

    Example:
        >>> media_parts("a.png | b.png"), media_parts('["a.png"]'), media_parts(b"data"), media_parts(None)
        (['a.png', 'b.png'], ['a.png'], [b'data'], [])
    """
    if isinstance(cell, str):
        return _text_parts(cell)
    if isinstance(cell, list | tuple) and all(map(_is_medium, cell)):
        return [part for item in cell for part in media_parts(item)]
    return [] if cell is None else [cell]


def _is_medium(part: Any) -> bool:
    """Whether a part of a cell is a medium (or missing), not a number of an array or the rate of a sound."""
    return not isinstance(part, bool | int | float | np.number | list | dict)


def _text_parts(cell: str) -> list[Any]:
    text = cell.strip()
    if text.startswith("[") and text.endswith("]"):
        try:
            found = json.loads(text)
        except ValueError:
            return [cell]
        return [str(part) for part in found if part] if all(isinstance(part, str | None) for part in found) else [cell]
    if _BETWEEN in text:
        return [part.strip() for part in text.split(_BETWEEN) if part.strip()]
    return [cell] if text else []


def holds_several(cell: Any) -> bool:
    """Whether a cell holds more media than one."""
    return isinstance(cell, str | Path | list | tuple) and len(media_parts(cell)) > 1


def each_part(cells: list[Any]) -> Iterator[tuple[int, Any]]:
    """Place of its cell and medium, for the first 16 media of each cell."""
    for place, cell in enumerate(cells):
        for part in media_parts(cell)[:MOST_PARTS]:
            yield place, part
