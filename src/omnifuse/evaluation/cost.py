"""What a model costs: parameters, floating-point operations, memory and rows a second."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def count_parameters(module: nn.Module) -> int:
    """Number of parameters; those shared by several layers count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of one call, a multiplication and an addition counted as two.

    Matrix products, convolutions and attention are counted, elementwise work is not.

    Args:
        call: Runs the forward pass, for example ``lambda: model(batch)``; no gradient is recorded.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter: Any = FlopCounterMode(display=False)
    counter.mod_tracker = _NoTracker()
    # The fused attention of the CPU is not in the counter's list; written out it is two products that are
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return int(counter.get_total_flops())


class _NoTracker(AbstractContextManager[None]):
    """Counts all modules as one: the counter's own tracker fails on views of weights where no gradient is recorded."""

    parents = frozenset({"Global"})

    def __exit__(self, *_: object) -> None:
        """Nothing to undo."""


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere
    return float(peak) / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def measure_rate(call: Callable[[], Any], *, samples: int, repeats: int = 5, seconds: float = 2.0) -> float:
    """Rows a second: the median over calls, after one that is not measured.

    Args:
        call: Handles `samples` rows.
        samples: Rows of one call.
        repeats: At least so many calls, unless one alone takes longer than `seconds`.
        seconds: No further call is started after this time.
    """
    call()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < repeats and (not times or time.perf_counter() - started < seconds):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return samples / max(statistics.median(times), 1e-9)
