"""Whether two ways of computing a model answer alike, complete and without each single field. No torch.

Shapes: E members, B rows, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.target_readout import TargetReadout, subset_name
from omnifuse.schema import TaskKind

# Largest difference of a raw output, as a share of 1 or of the output itself where that is larger
TOLERANCE = 1e-4

Subset = tuple[str, ...]
Answers = Callable[[Subset], RawOutputs]


@dataclass(frozen=True)
class SubsetParity:
    """How far answers from some fields lie apart.

    Attributes:
        absolute: Largest difference of a raw output (logits, standardised values).
        relative: Largest difference as a share of 1 or of the output, whichever is larger.
        answers: Largest difference of a calibrated probability, or of a value as a share of its scale.
        agreement: Share of rows with the same class (tags: the same set; values: within the tolerance).
    """

    absolute: float
    relative: float
    answers: float
    agreement: float

    def to_json(self) -> dict[str, float]:
        """Plain JSON values."""
        return {
            "absolute": self.absolute,
            "relative": self.relative,
            "answers": self.answers,
            "agreement": self.agreement,
        }


def checked_subsets(fields: tuple[str, ...]) -> list[Subset]:
    """All fields, and all without each single one."""
    if len(fields) == 1:
        return [fields]
    return [fields, *(tuple(name for name in fields if name != left_out) for left_out in fields)]


def compare_answers(
    readouts: Mapping[str, TargetReadout], fields: tuple[str, ...], reference: Answers, other: Answers
) -> dict[str, SubsetParity]:
    """Subset name to how far the other's answers lie from the reference's.

    Args:
        readouts: Target to its readout.
        fields: Of the model in order.
        reference: Subset of fields to the raw outputs of the checked rows.
        other: The same by the other way.
    """
    return {
        subset_name(subset): _parity(readouts, reference(subset), other(subset)) for subset in checked_subsets(fields)
    }


def parity_json(rows: int, found: Mapping[str, SubsetParity]) -> dict[str, Any]:
    """What `parity.json` holds."""
    return {
        "rows": rows,
        "tolerance": TOLERANCE,
        "absolute": max(item.absolute for item in found.values()),
        "relative": max(item.relative for item in found.values()),
        "agreement": min(item.agreement for item in found.values()),
        "subsets": {name: item.to_json() for name, item in found.items()},
    }


def _arrays(raw: RawOutputs) -> dict[str, np.ndarray]:
    found = {f"{t}/fused": values for t, values in raw.fused.items()}
    found |= {f"{t}/{name}": values for t, heads in raw.fields.items() for name, values in heads.items()}
    return found | {f"{t}/spread/{name}": v for t, heads in raw.spreads.items() for name, v in heads.items()}


def _parity(readouts: Mapping[str, TargetReadout], reference: RawOutputs, other: RawOutputs) -> SubsetParity:
    absolute, relative = 0.0, 0.0
    ours, theirs = _arrays(reference), _arrays(other)
    for name, values in ours.items():
        difference = np.abs(values.astype(np.float64) - theirs[name])
        # A head of a field that a row lacks holds NaN in both
        both_nan = np.isnan(values) & np.isnan(theirs[name])
        difference = np.where(both_nan, 0.0, np.where(np.isnan(difference), np.inf, difference))
        absolute = max(absolute, float(difference.max(initial=0.0)))
        scale = np.maximum(np.abs(np.nan_to_num(values)), 1.0)
        relative = max(relative, float((difference / scale).max(initial=0.0)))
    answers, agreeing = 0.0, 1.0
    for readout in readouts.values():
        first, second = readout.scores(reference), readout.scores(other)
        kind = readout.target.kind
        difference = np.abs(first - second) / (readout.scale if kind is TaskKind.REGRESSION else 1.0)
        answers = max(answers, float(difference.max(initial=0.0)))
        if kind is TaskKind.REGRESSION:
            same = difference <= TOLERANCE
        elif kind is TaskKind.TAGGING:
            same = ((first > 0.5) == (second > 0.5)).all(axis=1)
        else:
            same = first.argmax(axis=1) == second.argmax(axis=1)
        agreeing = min(agreeing, float(same.mean()) if len(same) else 1.0)
    return SubsetParity(absolute, relative, answers, agreeing)
