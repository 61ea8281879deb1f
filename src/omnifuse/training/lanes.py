"""Several networks trained side by side, each on a thread of its own.

Networks of this size do not fill two cores: their products are small, and much of a step runs on one thread. Two of
them beside one another, with one thread each, get through more than twice the rows of one after the other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from omnifuse.training.ranks import num_ranks

Result = TypeVar("Result")
# Longest time until a signal is seen
WAKE_S = 0.5
# Beside them the thread that trains needs its share of the interpreter
MOST_MAKERS = 2


class Halt(threading.Event):
    """Once set, trainings end after their step.

    Attributes:
        save: Whether they write a checkpoint first: the user or the machine ends them, not a failure beside them.
    """

    save = False


Job = Callable[[Halt], Result]


class Halted(BaseException):
    """Another network's training has failed or was interrupted, so this one ends too."""


def give_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Let everything random in a network draw from a generator of its own."""
    for module in model.modules():
        if hasattr(module, "generator"):
            module.generator = generator  # type: ignore[assignment]


def seed_torch(seed: int) -> None:
    """`torch.manual_seed` for the devices in use; where none is, that call spends 2 ms on noting its place."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def draws_globally(model: nn.Module) -> bool:
    """Whether a network holds torch's own dropout, which draws from the one global generator."""
    return any(isinstance(module, nn.modules.dropout._DropoutNd) for module in model.modules())


def group_sizes(count: int, lanes: int) -> list[int]:
    """How many networks train at a time: groups of equal size, none smaller than the lanes if that can be.

    Example:
        >>> group_sizes(5, 2), group_sizes(5, 1), group_sizes(3, 2), group_sizes(5, 16)
        ([2, 3], [1, 1, 1, 1, 1], [3], [5])
    """
    groups = max(1, count // max(lanes, 1))
    return [count * (number + 1) // groups - count * number // groups for number in range(groups)]


def available_lanes() -> int:
    """Threads that torch may use; one on a graphics card, and where several processes train one network."""
    return 1 if torch.cuda.is_available() or num_ranks() > 1 else torch.get_num_threads()


def batch_makers() -> int:
    """Threads that make batches: a graphics card takes in more pictures than one of them augments."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_MAKERS, cores // 2)) if torch.cuda.is_available() else 1


def _wait(end: threading.Event) -> None:
    """Wait, and wake now and then: a signal that the system hands to another thread does not end a wait by itself."""
    while not end.wait(WAKE_S):
        pass


def side_by_side(jobs: Sequence[Job[Result]]) -> list[Result]:
    """Run jobs on threads that share the cores, and wait for all of them.

    A single job has a thread of its own too: a signal meets the calling thread alone, and never cuts a step in two.

    Args:
        jobs: Each is called with an event; once that is set it shall raise `Halted` soon.

    Returns:
        Their results in order.

    Raises:
        BaseException: The first failure, after all jobs have ended.
    """
    halt, before = Halt(), torch.get_num_threads()
    results: dict[int, Result] = {}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        torch.set_num_threads(max(1, before // len(jobs)))
        try:
            results[number] = jobs[number](halt)
        except Halted:
            pass
        except BaseException as error:
            failures.append(error)
            halt.set()
        finally:
            ended[number].set()

    # Not `join`: in Python 3.11 and 3.12 one that a signal cuts short takes the thread for ended
    ended = [threading.Event() for _ in jobs]
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(jobs))]
    try:
        for thread in threads:
            thread.start()
        for end in ended:
            _wait(end)
    except BaseException:
        halt.save = True
        halt.set()
        for thread, end in zip(threads, ended, strict=True):
            if thread.ident is not None:  # the signal may have come before all were started
                _wait(end)
        raise
    finally:
        torch.set_num_threads(before)
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(jobs))]
