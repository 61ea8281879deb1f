"""A trained model as modules that can be exported: one a field, and one for all that comes after.

What runs for a row is decided by the row: the graph of a field runs for the rows that have it, the last graph takes the
tokens of all fields, masked where a row lacks one. These are one member's; `member_graphs` puts those of an ensemble
side by side.

Shapes: P rows that have a field, L steps of each of them, T tokens, D width, S fixed features, B rows, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from omnifuse.model import MultimodalModel
from omnifuse.readout.target_readout import FUSED, shallow_head
from omnifuse.tasks import Summary
from omnifuse.tokens import EvenFieldBatch, Tokens

POOLED = "pooled"


class FieldGraph(nn.Module):
    """Encoder, projection and fixed features of one field.

    Args:
        member: The network.
        name: The field.
        arrays: Names of the field's arrays in order.

    Shape: each array (P, L, ...), all rows of one length, to tokens (P, T, D) and, where shallow heads read the field,
        features (P, S).
    """

    def __init__(self, member: MultimodalModel, name: str, arrays: Sequence[str]) -> None:
        super().__init__()
        self.member = member
        self.name, self.arrays = name, tuple(arrays)
        self.summarised = name in member.summarised_fields()
        # What the encoder reads with but does not keep among its own weights, as a frozen backbone
        self.beside = getattr(member.encoders[member.fields.index(name)], "beside", None)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Arrays in the order of their names."""
        num_rows, steps = arrays[0].shape[:2]
        values = {name: array.flatten(0, 1) for name, array in zip(self.arrays, arrays, strict=True)}
        lengths = torch.full((num_rows,), 1, dtype=torch.int64) * steps
        batch = EvenFieldBatch(values, lengths, torch.ones(num_rows, dtype=torch.bool), steps)
        encoder: Any = self.member.encoders[self.member.fields.index(self.name)]
        tokens = self.member.projectors({self.name: encoder(batch)})[self.name].values
        return (tokens, encoder.summarise(batch)) if self.summarised else (tokens,)


class FusionGraph(nn.Module):
    """Shared trunk, fusion, tasks and shallow heads.

    Args:
        member: The network.

    Shape: for each field in order tokens (B, T, D) and mask (B, T), at least one place each; then for each field that
        shallow heads read features (B, S). To the outputs in the order of `outputs`: each head's (B, C), spreads (B,),
        and the unified representation (B, D).
    """

    def __init__(self, member: MultimodalModel) -> None:
        super().__init__()
        self.member = member
        self.fields = member.fields
        self.summarised = member.summarised_fields()

    @property
    def inputs(self) -> list[str]:
        """Names of what is taken."""
        names = [f"{kind}_{number}" for number in range(len(self.fields)) for kind in ("tokens", "mask")]
        return names + [f"features_{self.fields.index(name)}" for name in self.summarised]

    @property
    def outputs(self) -> list[tuple[str, str, str]]:
        """What is given: (kind, target, head), kind "answers" or "spread"; the representation comes last."""
        member, found = self.member, []
        for target, task in zip(member.targets, member.tasks, strict=True):
            heads: tuple[str, ...] = task.heads.fields  # type: ignore[union-attr,assignment]
            found += [("answers", target, FUSED), *(("answers", target, name) for name in heads)]
            found += [("spread", target, FUSED)] * hasattr(task, "doubt")
        for target, shallow in zip(member.shallow_targets, member.shallow, strict=True):
            for name, head in shallow.named_children():
                found.append(("answers", target, shallow_head(name)))
                if hasattr(head, "answer") and hasattr(head, "square"):
                    found.append(("spread", target, shallow_head(name)))
        return [*found, (POOLED, "", "")]

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Arrays in the order of `inputs`."""
        member, pairs = self.member, len(self.fields)
        own = {name: Tokens(arrays[2 * number], arrays[2 * number + 1]) for number, name in enumerate(self.fields)}
        features = dict(zip(self.summarised, arrays[2 * pairs :], strict=True))
        num_rows = next(iter(own.values())).mask.shape[0]
        if member.trunk is not None:
            own = member.trunk(own)
        summaries = {name: Summary(values, own[name].present) for name, values in features.items()}
        output = member.read(own, num_rows=num_rows)
        shallow = member.answer_shallow(summaries, num_rows)
        found = []
        for kind, target, head in self.outputs[:-1]:
            part = output.targets.get(target)
            if kind == "spread":
                spread = part.spread if head == FUSED and part is not None else None
                found.append(spread if spread is not None else shallow.spreads[target][_plain(head)])
            elif head == FUSED:
                found.append(output.targets[target].fused)
            elif part is not None and head in part.fields:
                found.append(part.fields[head])
            else:
                found.append(shallow.values[target][_plain(head)])
        return (*(item.float() for item in found), output.fused.pooled.float())


def _plain(head: str) -> str:
    """Name of a shallow head as the model keeps it."""
    return head.strip("()")
