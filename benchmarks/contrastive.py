"""Memory and time of a contrastive step at several batch sizes, beside its encoders alone and beside the dense loss.

    python -m benchmarks.contrastive [--rows 1024 4096 16384] [--dim 128] [--out FILE]

Each measurement runs in a process of its own, since the peak of a process never falls. Time is the median of five
steps after one that warms up; "overhead" is what the loss costs over the encoder's own step on the same rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("encoder", "chunked", "cached", "dense")
REPEATS = 5
# Width of what is encoded, and rows that are encoded with a graph at once
INPUT_DIM, AT_ONCE = 3072, 128


def peak_mb() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_step(kind: str, rows: int, dim: int) -> Callable[[], None]:
    """A step of a two-tower network of that kind.

    Args:
        kind: "encoder" (mean square of the vectors, no comparison), "chunked" (blocks of scores), "cached" (blocks of
            scores and rows encoded 128 at a time), or "dense" (all scores at once).
        rows: N.
        dim: Width of the space.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from omnifuse.association import contrastive_loss, info_nce
    from omnifuse.training.grad_cache import encode_chunks

    torch.manual_seed(0)
    hidden = 2048
    towers = [nn.Sequential(nn.Linear(INPUT_DIM, hidden), nn.GELU(), nn.Linear(hidden, dim)) for _ in range(2)]
    data = [torch.randn(rows, INPUT_DIM) for _ in range(2)]
    scale = nn.Parameter(torch.tensor(2.0))

    def encoded(start: int, stop: int) -> tuple[torch.Tensor, ...]:
        return tuple(F.normalize(tower(item[start:stop]), dim=1) for tower, item in zip(towers, data, strict=True))

    def step() -> None:
        if kind == "cached":
            starts = range(0, rows, AT_ONCE)
            first, second = encode_chunks([lambda s=start: encoded(s, min(s + AT_ONCE, rows)) for start in starts])
        else:
            first, second = encoded(0, rows)
        if kind == "encoder":
            loss = (first - second).square().mean()
        elif kind == "dense":
            loss = contrastive_loss(first, second, scale)
        else:
            loss = info_nce(first, second, scale)
        loss.backward()
        for tower in towers:
            tower.zero_grad()

    return step


def _measured(kind: str, rows: int, dim: int, answers: Any) -> None:
    step = make_step(kind, rows, dim)
    before = peak_mb()
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    answers.put({"seconds": statistics.median(seconds[1:]), "mb": peak_mb() - before})


def measure(kind: str, rows: int, dim: int) -> dict[str, Any]:
    """Seconds of a step, and megabytes that it takes beside data and weights."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_measured, args=(kind, rows, dim, answers))
    process.start()
    found: dict[str, Any] = answers.get(timeout=3600)
    process.join()
    return {"kind": kind, "rows": rows, **found}


def main() -> None:
    """Measure and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1024, 4096, 16_384])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results = []
    for rows in given.rows:
        found = {kind: measure(kind, rows, given.dim) for kind in given.kinds}
        for item in found.values():
            if "encoder" in found:
                item["overhead"] = item["seconds"] / found["encoder"]["seconds"] - 1
            results.append(item)
            print(json.dumps(item), flush=True)
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
