"""A data-quality finding: something about the table that its owner should know before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        kind: leak, overlap, duplicate, near_duplicate, constant, identifier, missing, imbalance, broken_media,
            cut_media, repaired_media, personal_data, time_order ...
        field: The column it is about ("" for the whole table).
        text: One sentence for a person.
        severity: "info", "warning" or "error".
        rows: Up to 20 example row numbers (0-based, in the table's order).
    """

    kind: str
    field: str
    text: str
    severity: str = "info"
    rows: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as `inspect --json` prints them."""
        return {
            "kind": self.kind,
            "field": self.field,
            "text": self.text,
            "severity": self.severity,
            "rows": list(self.rows),
        }
