"""Which device and precision training takes, and how many rows a step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from omnifuse.training.ranks import num_ranks, own_device

if TYPE_CHECKING:
    from omnifuse.model import MultimodalModel
    from omnifuse.tokens import Batch

# bf16 must save so much of a step's time: it computes less exactly
WORTH_IT = 0.85
# What the user says to what Fabric calls it
FABRIC_NAMES = {"fp32": "32-true", "bf16": "bf16-mixed"}
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def processor_has_bf16() -> bool:
    """True where the processor multiplies bf16 in hardware (Linux alone tells)."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return False
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return bool(_BF16_FLAGS & set(value.split()))
    return False


def make_fabric(precision: str) -> Any:
    """Lightning Fabric on one device, in "fp32" or "bf16" (autocast); never fp16."""
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment

    # The processes that train together are ours to join: to Fabric each is one alone
    plugins = [LightningEnvironment()] if num_ranks() > 1 else None
    if torch.cuda.is_available():
        return Fabric(accelerator="cuda", devices=[own_device()], precision=FABRIC_NAMES[precision], plugins=plugins)
    return Fabric(accelerator="cpu", devices=1, precision=FABRIC_NAMES[precision], plugins=plugins)


def choose_precision(asked: str, model: MultimodalModel, batch: Batch, *, by_time: bool) -> str:
    """Resolve "auto": bf16 where the device has it and a step is clearly quicker with it, else fp32.

    Hardware bf16 makes large products quicker, but convolutions of few channels may run several times slower in it,
    so on a processor a step of each is timed, on one thread, as networks train side by side.

    Args:
        asked: "auto", "fp32" or "bf16".
        model: What is trained; its gradients are cleared, nothing else changes.
        batch: Training rows as in a step.
        by_time: Whether a clock may decide; where results must be equal to the bit it may not, and fp32 is taken.

    Returns:
        "fp32" or "bf16".
    """
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if not by_time or not processor_has_bf16():
        return "fp32"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        full, half = (_step_seconds(model, batch, bf16=bf16) for bf16 in (False, True))
    finally:
        torch.set_num_threads(before)
    return "bf16" if half < WORTH_IT * full else "fp32"


def _step_seconds(model: MultimodalModel, batch: Batch, *, bf16: bool) -> float:
    """Least seconds of two steps forward and back, after one that warms up."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(batch).loss
        assert loss is not None
        loss.backward()
        model.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def choose_batch_size(num_rows: int) -> int:
    """Rows a step: small for few rows, where many steps matter more than their speed.

    Example:
        >>> [choose_batch_size(count) for count in (100, 1000, 3000, 100_000)]
        [16, 32, 64, 128]
    """
    return 16 if num_rows < 500 else 32 if num_rows < 2000 else 64 if num_rows < 6000 else 128
