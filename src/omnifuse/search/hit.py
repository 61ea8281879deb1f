"""What a search finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """One row that was found.

    Attributes:
        id: Of the row.
        score: Cosine of the angle between the question and the row, -1 to 1.
        number: Of the row in the index, from 0; it stays until the index is compacted.
        row: Column name to cell: a number, a text, seconds since 1970 of a date, a list of tags, or None.
        near: Where it was asked: "field" or "field of the question ~ field of the row" to the cosine of these two.
    """

    id: str
    score: float
    number: int
    row: Mapping[str, Any] = field(default_factory=dict)
    near: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        near = {name: round(value, 6) for name, value in self.near.items()}
        return {"id": self.id, "score": round(self.score, 6), "row": dict(self.row), "near": near}
