"""What several verbs share: `--json`, `NAME=VALUE` options, tables on the terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from omnifuse.errors import InputError


def pairs(values: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read repeated `NAME=VALUE` options.

    Raises:
        InputError: If one has no '=' or an empty side.
    """
    found: dict[str, str] = {}
    for text in values or ():
        name, sign, value = text.partition("=")
        if not (sign and name and value):
            raise InputError(f"{option} '{text}' is not NAME=VALUE", fix=f"Write for example {option} photo=image")
        found[name] = value
    return found


def plain(value: Any) -> Any:
    """The value with NaN and infinity as None, so that what is printed is strict JSON."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(plain(data), ensure_ascii=False) + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, one_line: bool = False
) -> None:  # fmt: skip
    """A table for a person, on stdout; `one_line` cuts cells that are too wide instead of folding them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        cut = one_line and number > 0
        table.add_column(column, overflow="ellipsis" if cut else "fold", justify="left", no_wrap=cut or number == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    Console(highlight=False, soft_wrap=False).print(table)


def score_text(score: dict[str, Any] | None) -> str:
    """`0.912 (0.880 to 0.941)`, or `-` where there is nothing."""
    if not score or score.get("value") is None:
        return "-"
    low, high = score.get("low"), score.get("high")
    span = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
    return f"{score['value']:.3f}{span}"


def interval_text(target: dict[str, Any]) -> str:
    """How often a number's intervals hold the truth, or nothing.

    Example:
        >>> interval_text({"interval": {"level": 0.9, "coverage": 0.913, "mean_width": 2.5}})
        '90% intervals hold 91.3% of the truths, mean width 2.5'
    """
    found = target.get("interval") or {}
    if found.get("coverage") is None:
        return ""
    held = f"{found['level']:.0%} intervals hold {found['coverage']:.1%} of the truths"
    return f"{held}, mean width {found['mean_width']:.4g}"
