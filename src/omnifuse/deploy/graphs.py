"""A trained model as modules that can be exported: one a field, and one for all that comes after.

What runs for a row is decided by the row: the graph of a field runs for the rows that have it, the last graph takes the
tokens of all fields, masked where a row lacks one. Members of the ensemble lie side by side in every graph.

Shapes: E members, P rows that have a field, L steps of each of them, T tokens, D width, S fixed features, B rows, C
outputs.
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
    """Encoder, projection and fixed features of one field, by every member.

    Args:
        members: The networks.
        name: The field.
        arrays: Names of the field's arrays in order.

    Shape: each array (P, L, ...), all rows of one length, to tokens (E, P, T, D) and, where shallow heads read the
        field, features (E, P, S).
    """

    def __init__(self, members: Sequence[MultimodalModel], name: str, arrays: Sequence[str]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.name, self.arrays = name, tuple(arrays)
        self.summarised = name in members[0].summarised_fields()

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Arrays in the order of their names."""
        num_rows, steps = arrays[0].shape[:2]
        values = {name: array.flatten(0, 1) for name, array in zip(self.arrays, arrays, strict=True)}
        lengths = torch.full((num_rows,), 1, dtype=torch.int64) * steps
        batch = EvenFieldBatch(values, lengths, torch.ones(num_rows, dtype=torch.bool), steps)
        tokens, features = [], []
        for member in self.members:
            own: Any = member
            encoder = own.encoders[own.fields.index(self.name)]
            tokens.append(own.projectors({self.name: encoder(batch)})[self.name].values)
            if self.summarised:
                features.append(encoder.summarise(batch))
        found = (torch.stack(tokens),)
        return (*found, torch.stack(features)) if features else found


class FusionGraph(nn.Module):
    """Shared trunk, fusion, tasks and shallow heads, by every member.

    Args:
        members: The networks.

    Shape: for each field in order tokens (E, B, T, D) and mask (B, T), at least one place each; then for each field
        that shallow heads read features (E, B, S). To the outputs in the order of `outputs`: each head's (E, B, C),
        spreads (E, B), and the unified representation (B, E x D).
    """

    def __init__(self, members: Sequence[MultimodalModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.fields = members[0].fields
        self.summarised = members[0].summarised_fields()

    @property
    def inputs(self) -> list[str]:
        """Names of what is taken."""
        names = [f"{kind}_{number}" for number in range(len(self.fields)) for kind in ("tokens", "mask")]
        return names + [f"features_{self.fields.index(name)}" for name in self.summarised]

    @property
    def outputs(self) -> list[tuple[str, str, str]]:
        """What is given: (kind, target, head), kind "answers" or "spread"; the representation comes last."""
        first: MultimodalModel = self.members[0]  # type: ignore[assignment]
        found = []
        for target, task in zip(first.targets, first.tasks, strict=True):
            heads: tuple[str, ...] = task.heads.fields  # type: ignore[union-attr,assignment]
            found += [("answers", target, FUSED), *(("answers", target, name) for name in heads)]
            found += [("spread", target, FUSED)] * hasattr(task, "doubt")
        for target, shallow in zip(first.shallow_targets, first.shallow, strict=True):
            for name, head in shallow.named_children():
                found.append(("answers", target, shallow_head(name)))
                if hasattr(head, "answer") and hasattr(head, "square"):
                    found.append(("spread", target, shallow_head(name)))
        return [*found, (POOLED, "", "")]

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Arrays in the order of `inputs`."""
        pairs = len(self.fields)
        tokens = {name: (arrays[2 * number], arrays[2 * number + 1]) for number, name in enumerate(self.fields)}
        features = dict(zip(self.summarised, arrays[2 * pairs :], strict=True))
        each = [self._answers(number, tokens, features) for number in range(len(self.members))]
        *answers, pooled = zip(*each, strict=True)
        return (*(torch.stack(parts) for parts in answers), torch.cat(pooled, dim=1))

    def _answers(
        self, number: int, tokens: dict[str, tuple[Tensor, Tensor]], features: dict[str, Tensor]
    ) -> list[Tensor]:
        """One member's outputs in the order of `outputs`."""
        member: MultimodalModel = self.members[number]  # type: ignore[assignment]
        own = {name: Tokens(values[number], mask) for name, (values, mask) in tokens.items()}
        num_rows = next(iter(own.values())).mask.shape[0]
        if member.trunk is not None:
            own = member.trunk(own)
        summaries = {name: Summary(values[number], own[name].present) for name, values in features.items()}
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
        return [*(item.float() for item in found), output.fused.pooled.float()]


def _plain(head: str) -> str:
    """Name of a shallow head as the model keeps it."""
    return head.strip("()")
