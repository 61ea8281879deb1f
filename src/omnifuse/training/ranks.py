"""Several processes that train one model, as `torchrun` starts them: each takes its part of every batch.

All of them plan the same batches from the same seed. Each computes the gradients of its own rows, weighed as parts of
the whole batch, and their sum, one message a step since the weights lie in a few pieces, is what all of them learn
from. So the weights stay equal, and with the same rows a step they are those of one process. What a clock or a score
decides is decided by the first process for all; it alone writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from omnifuse.errors import InputError, OmnifuseError

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")
# A process that is silent for so long in a step, or while another one scores and writes, is given up
TIMEOUT_S = 1800.0
_RUN, _WORLD, _RANK, _LOCAL = "TORCHELASTIC_RUN_ID", "WORLD_SIZE", "RANK", "LOCAL_RANK"


def num_ranks() -> int:
    """How many processes train together; 1 where torchrun did not start this one."""
    return int(os.environ.get(_WORLD, "1")) if _RUN in os.environ else 1


def rank() -> int:
    """The number of this process among them, from 0 on."""
    return int(os.environ.get(_RANK, "0")) if num_ranks() > 1 else 0


def is_first() -> bool:
    """Whether this process decides, writes and speaks."""
    return rank() == 0


def own_device() -> int:
    """The number of the graphics card of this process on its machine."""
    return int(os.environ.get(_LOCAL, "0")) if num_ranks() > 1 else 0


def own_part(count: int) -> tuple[int, int]:
    """First and one behind the last of this process's rows of a batch: even parts, none twice and none left out."""
    return count * rank() // num_ranks(), count * (rank() + 1) // num_ranks()


@contextmanager
def joined_ranks(*, timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Meet the other processes for as long as it lasts; nothing for a process alone.

    Args:
        timeout_s: See `TIMEOUT_S`.

    Raises:
        OmnifuseError: The others do not come.
    """
    if num_ranks() == 1:
        yield
        return
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(own_device())
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    with _together():
        distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    try:
        yield
    finally:
        distributed.destroy_process_group()


def sum_over_ranks(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sum over all processes, in place.

    Raises:
        OmnifuseError: Another process has ended or is silent.
    """
    if num_ranks() > 1:
        from torch import distributed

        with _together():
            for tensor in tensors:
                distributed.all_reduce(tensor)


def start_alike(tensors: Sequence[Tensor]) -> None:
    """Give all processes the tensors of the first, in place.

    Raises:
        OmnifuseError: As `sum_over_ranks`.
    """
    if num_ranks() > 1:
        from torch import distributed

        with _together():
            for tensor in tensors:
                distributed.broadcast(tensor, 0)


def agreed(value: Value) -> Value:
    """The first process's value for all of them.

    Args:
        value: Plain JSON; what the others give does not count.

    Raises:
        OmnifuseError: As `sum_over_ranks`.
    """
    if num_ranks() == 1:
        return value
    import torch

    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    content = json.dumps(value).encode() if is_first() else b""
    length = torch.tensor([len(content)], device=device)
    start_alike([length])
    data = torch.zeros(int(length), dtype=torch.uint8, device=device)
    if is_first():
        data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    start_alike([data])
    found: Value = json.loads(bytes(data.cpu().tolist()))
    return found


def alone_only(what: str) -> None:
    """Refuse what several processes cannot do together.

    Raises:
        InputError: There are several.
    """
    if num_ranks() > 1:
        raise InputError(f"{what} cannot be done by {num_ranks()} processes together", fix="Leave out torchrun or it")


@contextmanager
def _together() -> Iterator[None]:
    """Say in one sentence that another process is gone, in the place of what the transport says."""
    try:
        yield
    except RuntimeError as error:
        silent = "timed out" in str(error).lower() or "timeout" in str(error).lower()
        raise OmnifuseError(
            f"one of the {num_ranks()} processes that train together {'is silent' if silent else 'has ended'}",
            where=f"seen by process {rank()}",
            fix="Look at what it said. Type the same with --resume to go on from the last checkpoint, with as many "
            "processes as there are",
        ) from error
