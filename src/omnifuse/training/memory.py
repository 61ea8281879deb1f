"""A device that runs out of memory: the same work with fewer rows at once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from omnifuse.errors import MissingDependencyError

Result = TypeVar("Result")


class RowsAtOnce:
    """How many rows go through a network at once: halved whenever the device has no room for them.

    Args:
        most: To begin with.
    """

    def __init__(self, most: int) -> None:
        self.most = max(most, 1)

    def run(self, num_rows: int, work: Callable[[int], Result]) -> Result:
        """Do some work on rows; where the memory does not suffice, all of it again with half as many at once.

        Args:
            num_rows: All rows of this work.
            work: Called with the number of rows that it may take at once; starts anew each time.

        Raises:
            MissingDependencyError: One row alone does not fit.
        """
        rows = max(min(self.most, num_rows), 1)
        while True:
            done = _tried(work, rows)
            if done is not None:
                return done[0]
            if rows == 1:
                raise MissingDependencyError(
                    "one row does not fit into the memory of the device",
                    fix="Take a smaller --preset, or smaller inputs (--set largest_image=, num_frames=, max_seconds=, "
                    "max_steps=, max_tokens=), or the processor (CUDA_VISIBLE_DEVICES= omnifuse ...)",
                )
            rows = self.most = (rows + 1) // 2


def _tried(work: Callable[[int], Result], rows: int) -> tuple[Result] | None:
    """The result, None where the device ran out of memory; then nothing of the work is held any longer."""
    try:
        return (work(rows),)
    except torch.OutOfMemoryError:
        pass  # with the error its frames go, and with them their tensors
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
