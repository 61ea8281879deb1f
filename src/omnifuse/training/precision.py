"""Which device and precision a training takes, and how many rows a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

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


def make_fabric() -> Any:
    """Lightning Fabric on one device: bf16 autocast where hardware has it, else fp32; never fp16 on a processor."""
    from lightning.fabric import Fabric

    if torch.cuda.is_available():
        return Fabric(
            accelerator="cuda", devices=1, precision="bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
        )
    return Fabric(accelerator="cpu", devices=1, precision="bf16-mixed" if processor_has_bf16() else "32-true")


def choose_batch_size(num_rows: int) -> int:
    """Rows a step: small for few rows, where many steps matter more than their speed.

    Example:
        >>> [choose_batch_size(count) for count in (100, 1000, 3000, 100_000)]
        [16, 32, 64, 128]
    """
    return 16 if num_rows < 500 else 32 if num_rows < 2000 else 64 if num_rows < 6000 else 128
