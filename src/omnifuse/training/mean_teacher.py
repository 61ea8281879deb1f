"""A mean teacher: a network whose weights follow those of the one that learns."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)
# Share of the teacher that a step keeps, once it has followed for a while
MOMENTUM = 0.996


class MeanTeacher(nn.Module, Generic[Network]):
    """A copy of a network that is never trained itself and always answers without dropout.

    Args:
        student: Copied with its weights.

    References: Tarvainen and Valpola 2017, Mean teachers are better role models (arXiv:1703.01780); the share kept
    rises to its end as in exponential averages with a short memory at the beginning.
    """

    def __init__(self, student: Network) -> None:
        super().__init__()
        self.network: Network = copy.deepcopy(student).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: torch.Tensor
        self.eval()

    def train(self, mode: bool = True) -> MeanTeacher[Network]:
        """Always in eval mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Take in the student's weights after a step."""
        step = int(self.steps)
        kept = min(MOMENTUM, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.network.parameters()), list(student.parameters()), 1.0 - kept)
        self.steps += 1
