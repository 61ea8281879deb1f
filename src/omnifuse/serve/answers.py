"""Predictions as a client gets them: strict JSON, with the model's id in each."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from omnifuse.schema import Prediction

NOT_ANSWERED = "this row could not be answered"
NOT_READ = "this row could not be read"


def failed(row_id: str | int, model_id: str, reason: str) -> Prediction:
    """In the place of a row's answer."""
    return Prediction(row_id, {}, model_id=model_id, error=reason)


def finished(answer: Prediction, warnings: Sequence[str], *, proba: bool) -> dict[str, Any]:
    """Plain JSON values of one prediction.

    Args:
        answer: As the model gave it.
        warnings: What was refused before the row was decoded; it comes first.
        proba: Whether the probability of each class is wanted.
    """
    if not proba:
        targets = {name: replace(found, probabilities=None) for name, found in answer.targets.items()}
        answer = replace(answer, targets=targets)
    answer = replace(answer, warnings=(*warnings, *answer.warnings))
    data = answer.to_json()
    if not is_finite(data["targets"]):
        data = failed(answer.row_id, answer.model_id, NOT_ANSWERED).to_json()
    return data


def is_finite(data: Any) -> bool:
    """Whether no number in plain JSON values is NaN or infinite."""
    if isinstance(data, dict):
        return all(map(is_finite, data.values()))
    if isinstance(data, list | tuple):
        return all(map(is_finite, data))
    return not isinstance(data, float) or math.isfinite(data)


def to_bytes(data: Any) -> bytes:
    """JSON in UTF-8; letters that UTF-8 lacks become question marks."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
