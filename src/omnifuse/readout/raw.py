"""What a network gives for some rows, as plain arrays.

Shapes: E members, B rows, C outputs of a target, D width of the unified representation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class RawOutputs:
    """Raw outputs of B rows.

    Attributes:
        fused: Target to (E, B, C): logits, or standardised values for regression.
        fields: Target to input to (E, B, C) of its auxiliary head; NaN where the row lacks the input.
        present: Input to (B,) bool.
        pooled: (B, E * D) unified representation, or None where it was not asked for.
        field_pooled: Input to (B, E * D); NaN where the row lacks the input.
        spreads: Target of regression to head to (E, B): the error that it expects of a standardised value, for the
            heads that expect one.
    """

    fused: dict[str, np.ndarray]
    fields: dict[str, dict[str, np.ndarray]]
    present: dict[str, np.ndarray]
    pooled: np.ndarray | None = None
    field_pooled: dict[str, np.ndarray] = field(default_factory=dict)
    spreads: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """B."""
        return len(next(iter(self.present.values())))

    def members(self, chosen: Sequence[int]) -> RawOutputs:
        """Only some members, without representations."""
        index = list(chosen)
        fields = {t: {name: v[index] for name, v in heads.items()} for t, heads in self.fields.items()}
        spreads = {t: {name: v[index] for name, v in heads.items()} for t, heads in self.spreads.items()}
        return RawOutputs({t: v[index] for t, v in self.fused.items()}, fields, self.present, spreads=spreads)

    def rows(self, rows: np.ndarray) -> RawOutputs:
        """Only some rows."""
        return RawOutputs(
            {t: v[:, rows] for t, v in self.fused.items()},
            {t: {name: v[:, rows] for name, v in heads.items()} for t, heads in self.fields.items()},
            {name: v[rows] for name, v in self.present.items()},
            None if self.pooled is None else self.pooled[rows],
            {name: v[rows] for name, v in self.field_pooled.items()},
            {t: {name: v[:, rows] for name, v in heads.items()} for t, heads in self.spreads.items()},
        )


def concatenate(parts: Sequence[RawOutputs]) -> RawOutputs:
    """Rows of several parts one behind the other; all must come from the same network or from as many members."""
    first = parts[0]
    return RawOutputs(
        {t: np.concatenate([part.fused[t] for part in parts], axis=1) for t in first.fused},
        {
            t: {name: np.concatenate([part.fields[t][name] for part in parts], axis=1) for name in heads}
            for t, heads in first.fields.items()
        },
        {name: np.concatenate([part.present[name] for part in parts]) for name in first.present},
        None if first.pooled is None else np.concatenate([part.pooled for part in parts if part.pooled is not None]),
        {name: np.concatenate([part.field_pooled[name] for part in parts]) for name in first.field_pooled},
        {
            t: {name: np.concatenate([part.spreads[t][name] for part in parts], axis=1) for name in heads}
            for t, heads in first.spreads.items()
        },
    )
