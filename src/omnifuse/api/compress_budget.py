"""What a compressed model has to keep to: `20 ms`, `5 MB` or `1% accuracy`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from omnifuse.errors import InputError, did_you_mean

_BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*([A-Za-z_]\w*)\s*")
_FIX = "Write for example '20 ms', '5 MB' or '1% accuracy'"


@dataclass(frozen=True)
class Budget:
    """A limit.

    Attributes:
        kind: "time" of one row, "size" of all graphs, or "score": what may be lost of a metric.
        limit: Milliseconds, bytes, or a share of the metric.
        words: As it was given.
        metric: For "score", its name.
    """

    kind: Literal["time", "size", "score"]
    limit: float
    words: str
    metric: str = ""

    def met(self, *, size_bytes: float, row_ms: float) -> bool:
        """Whether graphs keep to it; a score is kept to by each step."""
        return {"time": row_ms, "size": size_bytes, "score": 0.0}[self.kind] <= self.limit

    def reached(self, *, size_bytes: float, row_ms: float) -> str:
        """What was reached, in the budget's own unit."""
        return f"{row_ms:.3g} ms" if self.kind == "time" else f"{size_bytes / 1e6:.3g} MB"


def read_budget(text: str, metrics: Sequence[str]) -> Budget:
    """Read a budget.

    Args:
        text: As typed.
        metrics: Those by which the model's answers are compared.

    Raises:
        InputError: No number with a known unit, or a metric that is not compared.

    Example:
        >>> read_budget("20 ms", ["accuracy"]).limit, read_budget("1% accuracy", ["accuracy"]).limit
        (20.0, 0.01)
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(f"--budget '{text}' is no limit", fix=_FIX)
    number, percent, unit = float(found[1]), found[2], found[3]
    if percent:
        if unit not in metrics:
            raise InputError(f"--budget '{text}': '{unit}' is not compared", fix=did_you_mean(unit, metrics))
        if number > 100:
            raise InputError(f"--budget '{text}' lets more than all of it go", fix=_FIX)
        return Budget("score", number / 100, text.strip(), unit)
    if number <= 0:
        raise InputError(f"--budget '{text}' leaves nothing", fix=_FIX)
    if unit in _MILLISECONDS:
        return Budget("time", number * _MILLISECONDS[unit], text.strip())
    if unit in _BYTES:
        return Budget("size", number * _BYTES[unit], text.strip())
    raise InputError(f"--budget '{text}': the unit '{unit}' is not known", fix=_FIX)
