"""Checkpoints without pickle: a safetensors file and a JSON file with its digest; the previous pair is kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from omnifuse.errors import ArtefactError
from omnifuse.files import make_folder, sync_folder, write_atomically
from omnifuse.training.optimiser import WeightAverage

SLOTS = ("a", "b")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name and plain facts (step, losses, plan ...)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class CheckpointFolder:
    """Two slots written in turn, so that the pair before the last is always whole.

    Args:
        folder: Made where absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the older slot: tensors first, then the JSON that makes them valid.

        Raises:
            OSError: The disk is full or read-only; the other slot stays whole.
        """
        make_folder(self.folder)
        known = {slot: facts for slot in SLOTS if (facts := self._facts(slot)) is not None}
        slot = next((slot for slot in SLOTS if slot not in known), None)
        if slot is None:
            slot = min(SLOTS, key=lambda item: int(known[item]["number"]))
        number = 1 + max((int(facts["number"]) for facts in known.values()), default=0)
        content = safetensors.torch.save({name: value.contiguous() for name, value in checkpoint.tensors.items()})
        digest = hashlib.sha256(content).hexdigest()
        # Without its facts the slot counts as empty while its tensors are replaced
        (self.folder / f"{slot}.json").unlink(missing_ok=True)
        write_atomically(self.folder / f"{slot}.safetensors", content)
        facts = {**checkpoint.facts, "number": number, "sha256": digest}
        facts["check"] = _check(facts)
        write_atomically(self.folder / f"{slot}.json", json.dumps(facts).encode())

    def _facts(self, slot: str) -> dict[str, Any] | None:
        """The facts of a slot, None where absent or damaged."""
        try:
            facts = json.loads((self.folder / f"{slot}.json").read_bytes())
            sound = isinstance(facts, dict) and facts.pop("check") == _check(facts)
        except (OSError, ValueError, KeyError, RecursionError):
            return None
        return facts if sound else None

    def load(self) -> Checkpoint | None:
        """The newest whole pair, None where there is none; a damaged pair is passed over."""
        found = [(facts["number"], slot, facts) for slot in SLOTS if (facts := self._facts(slot)) is not None]
        for _, slot, facts in sorted(found, reverse=True):
            try:
                content = (self.folder / f"{slot}.safetensors").read_bytes()
            except OSError:
                continue
            if hashlib.sha256(content).hexdigest() == facts["sha256"]:
                return Checkpoint(safetensors.torch.load(content), facts)
        return None

    def clear(self) -> None:
        """Forget everything, so that no power cut brings it back."""
        if not self.folder.is_dir():
            return
        for slot in SLOTS:
            for suffix in ("json", "safetensors", "json.tmp", "safetensors.tmp"):
                (self.folder / f"{slot}.{suffix}").unlink(missing_ok=True)
        sync_folder(self.folder)


def _check(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def pack_state(model: nn.Module, optimiser: torch.optim.Optimizer, average: WeightAverage) -> dict[str, Tensor]:
    """Weights, optimiser state and averaged weights under one naming.

    A state of the optimiser is named by the position of its parameter.
    """
    tensors = {f"model/{name}": value.detach().clone() for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state().items()}
    for number, entries in optimiser.state_dict()["state"].items():
        for name, value in entries.items():
            tensors[f"optimiser/{number}/{name}"] = torch.as_tensor(value)
    return tensors


def unpack_state(
    tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer, average: WeightAverage
) -> None:
    """Inverse of `pack_state`.

    Raises:
        ArtefactError: The state is of another architecture; the keys that differ are named.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimiser": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    check_keys(model.state_dict(), parts["model"])
    model.load_state_dict(parts["model"])
    average.load(parts["average"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimiser"].items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def check_keys(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Refuse weights of another architecture.

    Raises:
        ArtefactError: Names up to five keys that differ.
    """
    shared = {name for name in expected.keys() & found.keys() if expected[name].shape == found[name].shape}
    wrong = sorted((expected.keys() | found.keys()) - shared)
    if wrong:
        raise ArtefactError(
            "the checkpoint belongs to another architecture",
            where=f"{len(wrong)} keys differ: {', '.join(wrong[:5])}",
            fix="Resume with the same table and options, or fit anew without --resume",
        )
