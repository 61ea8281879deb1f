"""A comparison of fusions as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fusion_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of one fusion: name, score, difference with its interval, p, parameters, operations, passes.

    Args:
        row: As in `FusionTable.to_json`.
    """
    if row["difference"] is None:
        difference = "(default)" if row["p"] is None else "-"
    else:
        difference = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    mean = "-" if row["mean"] is None else f"{row['mean']:.3f}"
    return (
        row["name"],
        mean if row["sd"] is None else f"{mean} \u00b1 {row['sd']:.3f}",
        difference,
        "" if row["p"] is None else f"{row['p']:.2g}",
        f"{row['parameters']:,}",
        f"{row['flops'] / 1e6:.1f}",
        f"{row['epochs']:.1f}",
    )
