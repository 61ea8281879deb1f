"""Fixed features of a field, which shallow heads read. Shapes: B rows, S features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Summary:
    """Fixed features of one field: values (B, S), zero where absent, and present (B,) bool."""

    values: Tensor
    present: Tensor
