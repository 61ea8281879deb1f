"""What was written before a row: the latest earlier texts of its group, joined to one text, the most recent last.

A reply means little without what it replies to. Of dialogues that were not learnt from, linear models of words made
fewer mistakes with five earlier utterances beside the row's own than with one or three; naming the speakers of these
added nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from omnifuse.data.text import clean_text
from omnifuse.schema import Finding, Modality, Schema
from omnifuse.schema.history import PastText

BEFORE = "_before"
# The sign stands alone for the tokenizer, so it is a word that ends a text
SEPARATOR = " | "
MOST_TEXTS, MOST_CHARS = 5, 1000


def end_of_text(cell: Any, chars: int) -> str | None:
    """The last characters of a cell, without what cannot be seen; None where nothing can."""
    text = None if cell is None else clean_text(cell).strip()[-chars:]
    return text or None


def join_latest(texts: Sequence[str | None], item: PastText) -> str | None:
    """The latest known texts as one.

    Args:
        texts: In the order of time.
        item: How many are taken, and how long the result may be: what is too long loses its start.

    Returns:
        The text, None where none is known.

    Example:
        >>> join_latest(["Hello.", None, "Is he in?", "No."], PastText("x", "y", 2, 100))
        'Is he in? | No.'
    """
    found: list[str] = []
    for text in reversed(texts):
        if text is not None:
            found.append(text)
        if len(found) == item.most:
            break
    return SEPARATOR.join(reversed(found))[-item.chars :] or None


def text_ranks(texts: Sequence[str | None]) -> np.ndarray:
    """(R,) place of each text in the order of all texts; of one time, rows are ordered by it."""
    place = {text: number for number, text in enumerate(sorted({text or "" for text in texts}))}
    return np.array([place[text or ""] for text in texts], np.int64)


def text_columns(schema: Schema) -> tuple[str, ...]:
    """Columns whose earlier texts are read: only within a group do texts belong together."""
    if schema.group is None:
        return ()
    return tuple(item.name for item in schema.fields if item.modality is Modality.TEXT)


def past_text_findings(schema: Schema) -> list[Finding]:
    """Say which fields were made of earlier texts, and how they are left out."""
    history = schema.history
    if history is None:
        return []
    return [
        Finding(
            "past_text",
            item.name,
            f"'{item.name}' holds up to {item.most} earlier texts of '{item.column}' of the same '{history.group}', in "
            f"the order of '{history.time}'; --drop {item.name} leaves it out",
            "info",
        )
        for item in history.texts
    ]
