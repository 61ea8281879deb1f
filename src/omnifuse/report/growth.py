"""Whether more rows would help, in words that claim no more than the curve shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omnifuse.report.metrics import metric_words, value_words

Point = tuple[int, float, float, float]


def curve_points(points: Sequence[Mapping[str, Any]], metric: str) -> list[Point]:
    """(rows, value, low, high) of one metric where it is defined; no interval is one of no width."""
    found = []
    for point in points:
        score = point["metrics"].get(metric) or {}
        if score.get("value") is not None:
            value = float(score["value"])
            low, high = (value if score.get(side) is None else float(score[side]) for side in ("low", "high"))
            found.append((int(point["rows"]), value, low, high))
    return found


def growth_words(points: Sequence[Point], metric: str, scored: int) -> str:
    """What the curve says: a gain is named as one only where the intervals of fewest and most rows lie apart.

    No number is given for more rows than there are.

    Args:
        points: (rows, value, low, high), fewest rows first.
        metric: What is measured; more is better.
        scored: Rows that every point is scored on.
    """
    if len(points) < 2:
        return ""
    (few, start, start_low, start_high), (before, middle, _, _), (all_rows, end, low, high) = (
        points[0],
        points[-2],
        points[-1],
    )
    change = end - middle
    sign = "+" if change >= 0 else "-"
    words = (
        f"From {few} to {all_rows} rows {metric_words(metric)} of one network went from {value_words(metric, start)} "
        f"to {value_words(metric, end)} on the same {scored} rows; the last step, from {before} rows, changed it by "
        f"{sign}{value_words(metric, abs(change))}."
    )
    if start_high >= low and high >= start_low:
        return f"{words} The intervals overlap, so this curve cannot tell whether more rows would help."
    if end > start and change > 0:
        return f"{words} More rows are likely to help, by less a doubling than the last one did."
    return f"{words} The last step gave nothing: more rows of this kind are not likely to help."
