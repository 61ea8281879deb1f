"""The explanation of one row, as plain values with a JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from omnifuse.explain.answered import Answered

WHAT_IT_IS = (
    "How far each field moved the model's answer, away from what it would answer without reading anything, and how far "
    "the answer moves when a part of a field is hidden. This tells what the model read. It does not tell what causes "
    "the label, nor what would happen if the thing itself were changed."
)
SHAPLEY, OCCLUSION = "shapley", "occlusion"


@dataclass(frozen=True)
class Share:
    """How far one field moved the answer.

    Attributes:
        field: The input.
        effect: In the answer's unit; above 0 where it spoke for the answer. All effects add up to value less prior.
        share: |effect| over the sum of all |effect|, 0 to 1.
        error: Standard error of the effect, where orders were drawn; None where it is exact.
    """

    field: str
    effect: float
    share: float
    error: float | None = None


@dataclass(frozen=True)
class Part:
    """A part of a field.

    Attributes:
        what: A word, a column, a stretch of seconds ..., for a person.
        where: The same for a program: `start` and `end` (characters of the text as it was read); `column`; `picture`
            (number), `top`, `left`, `bottom`, `right` (0 to 1); `start_s` and `end_s`; `tag`.
        effect: How far the answer moves back when the part is hidden, in the answer's unit; above 0 where the part
            spoke for the answer.
    """

    what: str
    where: dict[str, Any]
    effect: float


@dataclass(frozen=True)
class FieldParts:
    """What mattered inside of one field.

    Attributes:
        field: The input.
        modality: Of it.
        method: "occlusion", each part hidden alone, or "shapley", columns of a table in all combinations.
        parts: In the order in which they stand in the field.
        grid: Of pictures, (pictures, rows, columns); their parts come picture by picture, row by row.
        seen: The field as it was read, for drawing: a text, pixels (n, H, W, 3), the envelope of a sound (F,), values
            of a series (F, C) or None. Not in the JSON form, but for a text.
    """

    field: str
    modality: str
    method: str
    parts: tuple[Part, ...]
    grid: tuple[int, int, int] | None = None
    seen: Any = None

    def effects(self) -> np.ndarray:
        """Effects (pictures, rows, columns) of a picture's grid, else (parts,)."""
        found = np.array([part.effect for part in self.parts])
        return found if self.grid is None else found.reshape(self.grid)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        data: dict[str, Any] = {
            "modality": self.modality,
            "method": self.method,
            "parts": [{"what": part.what, "where": part.where, "effect": part.effect} for part in self.parts],
        }
        if isinstance(self.seen, str):
            data["text"] = self.seen
        if self.grid is not None:
            data["grid"] = self.effects().tolist()
        return data


@dataclass(frozen=True)
class AnswerExplanation:
    """What carried one answer.

    Attributes:
        answered: Target, class or number, and its unit.
        prior: The explained number where nothing is read.
        value: The explained number of the row.
        shares: One a field that the row has, in the model's order.
        parts: Field to what mattered inside of it; empty where it was not asked for.
    """

    answered: Answered
    prior: float
    value: float
    shares: tuple[Share, ...]
    parts: dict[str, FieldParts] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        shares = [
            {"field": item.field, "effect": item.effect, "share": item.share}
            | ({} if item.error is None else {"error": item.error})
            for item in self.shares
        ]
        return {
            "target": self.answered.target,
            "answer": self.answered.label,
            "confidence": self.answered.confidence,
            "unit": self.answered.unit,
            "prior": self.prior,
            "value": self.value,
            "shares": shares,
            "parts": {name: item.to_json() for name, item in self.parts.items()},
        }


@dataclass(frozen=True)
class Explanation:
    """What carried the answers to one row.

    Attributes:
        row_id: Number or id of the row.
        answers: One a target, of tags one a tag that is answered.
        model_id: Of the model.
        warnings: What could not be read of the row.
        error: Set where nothing of the row can be read; then there are no answers.
        what: What the numbers are, in words.
    """

    row_id: str | int
    answers: tuple[AnswerExplanation, ...] = ()
    model_id: str = ""
    warnings: tuple[str, ...] = ()
    error: str | None = None
    what: str = WHAT_IT_IS

    @property
    def shares(self) -> tuple[Share, ...]:
        """Those of the first answer."""
        return self.answers[0].shares if self.answers else ()

    @property
    def parts(self) -> dict[str, FieldParts]:
        """Those of the first answer."""
        return self.answers[0].parts if self.answers else {}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as the server and `--json` give them."""
        data: dict[str, Any] = {
            "row_id": self.row_id,
            "answers": [answer.to_json() for answer in self.answers],
            "warnings": list(self.warnings),
            "model_id": self.model_id,
            "what": self.what,
        }
        return data if self.error is None else data | {"error": self.error}
