"""Muon for the matrices inside a network, AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

# Parts whose matrices are hidden ones: neither the first layer of a field's marks nor the last one of a head
HIDDEN_PARTS = ("encoders", "trunk", "fusion")


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Trainable weights of the linear layers inside encoders, trunk and fusion: no embeddings, heads, convolutions."""
    found: dict[int, nn.Parameter] = {}
    for name in HIDDEN_PARTS:
        part = getattr(model, name, None)
        for module in part.modules() if isinstance(part, nn.Module) else ():
            weight = module.weight if isinstance(module, nn.Linear) else None
            if isinstance(weight, nn.Parameter) and weight.requires_grad:
                found[id(weight)] = weight
    return list(found.values())


def make_muon(matrices: Sequence[nn.Parameter], *, learning_rate: float, weight_decay: float) -> torch.optim.Muon:
    """Muon whose steps are as long as AdamW's, so that one learning rate suits both.

    Args:
        matrices: (out, in) each.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.

    References: Jordan et al. 2024, Muon; Liu et al. 2025, Muon is Scalable for LLM Training, section 2.2 (the length).
    """
    group = {"params": list(matrices)}
    return torch.optim.Muon([group], lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")


class MuonBesideAdamW(torch.optim.Optimizer):
    """Two optimisers of different parameters that step together and are saved as one.

    Args:
        muon: Of the hidden matrices.
        adamw: Of all other parameters.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        self.parts: tuple[torch.optim.Optimizer, ...] = (muon, adamw)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let both work on the groups and the state of this one, so that a rate that is set here is theirs."""
        start = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[start : start + count]
            part.state = self.state
            start += count

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of each."""
        assert closure is None
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        super().load_state_dict(state_dict)
        self._share()
