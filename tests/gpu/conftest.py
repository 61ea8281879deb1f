"""A graphics card for the tests of this folder; OMNIFUSE_TEST_DEVICE=cpu runs them on the processor instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# cuBLAS repeats its sums only with this, and reads it once
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def device():
    """Where to compute: full fp32, repeatable where torch can; skipped where there is no graphics card."""
    import torch

    asked = os.environ.get("OMNIFUSE_TEST_DEVICE", "cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a graphics card that torch can use (OMNIFUSE_TEST_DEVICE=cpu runs it on the processor)")
    flags = [(torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32")]
    before = [getattr(place, name) for place, name in flags]
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    for place, name in flags:
        setattr(place, name, False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield torch.device(asked, 0) if asked == "cuda" else torch.device(asked)
    torch.use_deterministic_algorithms(strict, warn_only=warn_only)
    for (place, name), value in zip(flags, before, strict=True):
        setattr(place, name, value)


@pytest.fixture
def card(device):
    """A graphics card itself, for what no processor can stand in for."""
    if device.type != "cuda":
        pytest.skip("needs the memory of a graphics card")
    return device


def pytest_collection_modifyitems(items):
    """Warnings are shown here, not failed on: torch names each operation that it cannot repeat to the bit."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
