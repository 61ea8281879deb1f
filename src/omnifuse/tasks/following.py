"""Which ids may come next, on the scorer's device. Shapes: N texts, V ids, S states of a constraint."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from omnifuse.data.bpe import BLANK_ID, END_ID, START_ID, UNKNOWN_ID
from omnifuse.readout.writing import Constraint

NEVER_WRITTEN = (BLANK_ID, START_ID, UNKNOWN_ID)


class Following:
    """Ids that may come next, and those that end a text.

    Args:
        size: V.
        stop: Ids that end a text, beside the end itself.
        constraint: Which ids may follow which; None: all but those that are never written.
        device: Of the tensors.
    """

    def __init__(
        self,
        size: int,
        *,
        stop: Iterable[int] = (),
        constraint: Constraint | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        allowed = torch.ones(size, dtype=torch.bool)
        allowed[list(NEVER_WRITTEN)] = False
        self._constraint = None
        if constraint is not None:
            following = torch.from_numpy(constraint.following).to(device).long()
            self._constraint = following.masked_fill(~allowed.to(device), -1)
        self._allowed = allowed.to(device).unsqueeze(0)
        self._ends = torch.zeros(size, dtype=torch.bool, device=device)
        self._ends[[END_ID, *stop]] = True

    def allowed(self, state: Tensor) -> Tensor:
        """(N, V) or (1, V) bool for texts in these states (N,)."""
        return self._allowed if self._constraint is None else self._constraint[state] >= 0

    def ends(self, ids: Tensor) -> Tensor:
        """Bool for each id: whether a text ends with it."""
        return self._ends[ids]

    def behind(self, state: Tensor, ids: Tensor) -> Tensor:
        """States (N,) behind ids (N,)."""
        return state if self._constraint is None else self._constraint[state, ids].clamp(min=0)
