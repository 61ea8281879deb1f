"""Label cells to numbers: exact class texts, tag sets, numbers; what is missing stays missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from omnifuse.data.bpe import TargetTokenizer
from omnifuse.data.categories import category_text
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.target_text import encode_texts
from omnifuse.schema import Target, TaskKind

_TAG_MARKS = re.compile(r"[|;,]")


def class_text(cell: Any) -> str | None:
    """The class that a cell names: its exact text without outer blanks, None where missing.

    Example:
        >>> class_text(" 03"), class_text(3), class_text(None)
        ('03', '3', None)
    """
    return None if cell is None else category_text(cell).strip()


def tag_texts(cell: Any) -> tuple[str, ...] | None:
    """The tags of a cell: a list, or a text separated by "|", ";" or ","; None where missing."""
    if cell is None:
        return None
    if isinstance(cell, str):
        parts: Iterable[Any] = _TAG_MARKS.split(cell)
    else:
        parts = cell if isinstance(cell, list | tuple | set | frozenset | np.ndarray) else [cell]
    texts = (category_text(part).strip() for part in parts if part is not None)
    return tuple(dict.fromkeys(text for text in texts if text))


def encode_target(cells: list[Any], target: Target, text: TargetTokenizer | None = None) -> np.ndarray:
    """Encode label cells.

    Args:
        cells: R cells, None = missing.
        target: What to encode for.
        text: The vocabulary of a target that is written.

    Returns:
        Classification and ordinal: int64 (R,), -1 = missing or a class that is not known. Tagging: float32 (R, C) of
        0 and 1, a NaN row = missing. Regression: float64 (R,), NaN = missing or not a number.
        Written: int32 (R, T), see `encode_texts`.
    """
    if target.kind.writes:
        assert text is not None, f"{target.name} has no vocabulary"
        return encode_texts(cells, text)
    if target.kind is TaskKind.REGRESSION:
        return parse_numbers(cells)
    index = {name: number for number, name in enumerate(target.classes)}
    if target.kind is TaskKind.TAGGING:
        encoded = np.zeros((len(cells), len(index)), np.float32)
        for row, cell in enumerate(cells):
            tags = tag_texts(cell)
            if tags is None:
                encoded[row] = np.nan
            else:
                encoded[row, [index[tag] for tag in tags if tag in index]] = 1.0
        return encoded
    codes = (index.get(name, -1) if (name := class_text(cell)) is not None else -1 for cell in cells)
    return np.fromiter(codes, dtype=np.int64, count=len(cells))


def unknown_classes(cells: list[Any], target: Target) -> dict[str, int]:
    """Class texts of the cells that the target does not know, with how often they occur."""
    known = set(target.classes)
    if target.kind is TaskKind.REGRESSION or target.kind.writes:
        return {}
    if target.kind is TaskKind.TAGGING:
        return dict(Counter(tag for cell in cells for tag in tag_texts(cell) or () if tag not in known))
    texts = (class_text(cell) for cell in cells)
    return dict(Counter(text for text in texts if text is not None and text not in known))
