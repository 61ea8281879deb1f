"""Learning without labels: what belongs together is drawn together, what is hidden is told from the rest.

Shapes: B rows, N rows that have both fields of a pair, S width of the shared space.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from omnifuse.association import OBJECTIVES, Items, MaskedObjective
from omnifuse.association.contrastive import HOTTEST
from omnifuse.model import Change, ModelOutput, MultimodalModel
from omnifuse.tokens import Batch, Fused, Tokens
from omnifuse.training.accumulation import rows_of
from omnifuse.training.grad_cache import encode_chunks
from omnifuse.training.mean_teacher import MeanTeacher

MASKED = "masked"
# What the user asks for to its parts and their weights. The judge of a match needs a space in which strangers are
# found, so it stands beside InfoNCE (as in ALBEF); prediction alone draws no fields together, so without strangers
# that is left to variance, invariance and covariance
RECIPES: dict[str, dict[str, float]] = {
    "contrastive": {"contrastive": 1.0},
    "sigmoid": {"sigmoid": 1.0},
    "matching": {"contrastive": 1.0, "matching": 1.0},
    "masked": {MASKED: 1.0, "variance": 1.0},
    "all": {"contrastive": 1.0, "matching": 0.5, MASKED: 0.5, "variance": 0.1},
}
# Rows that are encoded with a graph at once
ROWS_AT_ONCE = 128
_SECOND = "\x00second"
_CODE = "\x00code "
ID = "\x00id"


def second_view(name: str) -> str:
    """The name under which a batch holds another view of a field; networks read fields of their own names alone."""
    return name + _SECOND


def code_name(name: str) -> str:
    """The name among a batch's targets of the content codes of a field, or of the `ID` of rows."""
    return _CODE + name


@dataclass(frozen=True)
class Pretraining:
    """What is learnt.

    Attributes:
        recipe: Name in `RECIPES`.
        pairs: Fields that are compared with one another.
        views: Fields of which a batch may hold a second view.
    """

    recipe: str
    pairs: tuple[tuple[str, str], ...]
    views: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, float]:
        """Objective to its weight."""
        return RECIPES[self.recipe]

    @property
    def compared(self) -> tuple[tuple[str, str], ...]:
        """The pairs, and each field with its own second view."""
        return (*self.pairs, *((name, second_view(name)) for name in self.views))

    @property
    def words(self) -> str:
        """What must be equal for a run to be the same."""
        return f"{self.recipe} {self.pairs} {self.views}"


class Pretrainer(nn.Module):
    """A network with the objectives that teach it; trained like any other one, with a batch of rows and no target.

    Rows are encoded a few at a time (see `encode_chunks`), then all of a batch are compared with one another. Each
    pair of fields counts by its rows.

    Args:
        model: Has a shared space.
        plan: What is learnt.
        num_heads: Heads of the predictor of what is masked.
        rows_at_once: Rows that are encoded with a graph at once.
    """

    generator: torch.Generator | None = None
    targets: tuple[str, ...] = ()

    def __init__(
        self, model: MultimodalModel, plan: Pretraining, *, num_heads: int = 4, rows_at_once: int = ROWS_AT_ONCE
    ) -> None:
        super().__init__()
        assert model.space is not None, "pretraining needs a shared space"
        self.model, self.plan, self.rows_at_once = model, plan, rows_at_once
        self.fields, self.tasks, self.purpose = model.fields, nn.ModuleList(), plan.words
        # The fusion is not learnt here, so it must not decay either
        model.fusion.requires_grad_(False)
        width, dim = model.space.output_dim, int(model.projectors.field_embeddings.shape[1])  # type: ignore[index]
        self.objectives = nn.ModuleDict({name: OBJECTIVES[name](width) for name in plan.parts if name != MASKED})
        self.masked = MaskedObjective(self.fields, dim, num_heads=num_heads) if MASKED in plan.parts else None
        self.teacher: MeanTeacher[MultimodalModel] | None = None if self.masked is None else MeanTeacher(model)

    @property
    def scale(self) -> float | None:
        """What cosines are multiplied by where they are compared; None where only the masked is told."""
        scales = [getattr(item, "log_scale", None) for item in self.objectives.values()]
        found = [math.exp(min(float(item.detach()), HOTTEST)) for item in scales if isinstance(item, Tensor)]
        return found[0] if found else None

    def after_step(self) -> None:
        """The teacher follows."""
        if self.teacher is not None:
            self.teacher.follow(self.model)

    def forward(self, batch: Batch, change: Change | None = None) -> ModelOutput:
        """The loss of a batch and its parts; 0 where no two rows have a pair and nothing is masked."""
        count = -(-batch.size // self.rows_at_once)
        bounds = [batch.size * number // count for number in range(count + 1)]
        chunks = [partial(self._encoded, rows_of(batch, start, stop)) for start, stop in itertools.pairwise(bounds)]
        *outputs, masked, asked = encode_chunks(chunks, self.generator)
        vectors = dict(zip(self._names(batch.fields), outputs, strict=True))
        parts = self._compared(vectors, batch)
        if self.masked is not None:
            parts[MASKED] = self.plan.parts[MASKED] * (masked * asked).sum() / asked.sum().clamp(min=1)
        loss = torch.stack(list(parts.values())).sum()
        nothing = loss.new_zeros((batch.size, 0))
        return ModelOutput({}, Fused(nothing, nothing.bool(), nothing), {}, loss, parts)

    def _names(self, fields: Collection[str]) -> list[str]:
        """Of the views in a batch."""
        return [name for own in self.fields for name in (own, second_view(own)) if name in fields]

    def _encoded(self, part: Batch) -> tuple[Tensor, ...]:
        """(B, S) vectors of each view, then (B,) losses of what was masked and (B,) whether something was."""
        first = self.model.encode(self._first(part))
        again = self._second(part)
        second = self.model.encode(again) if again is not None else {}
        found = self.model.in_space(first, part.size)
        other = self.model.in_space(second, part.size) if again is not None else {}
        vectors = [
            (found if name in self.fields else other)[name.removesuffix(_SECOND)] for name in self._names(part.fields)
        ]
        masked = asked = vectors[0].new_zeros(part.size)
        if self.masked is not None and self.teacher is not None and second:
            masked, told = self.masked(second, self._taught(part))
            asked = told.to(masked.dtype)
        return (*vectors, masked, asked)

    def _first(self, part: Batch) -> Batch:
        """The fields of a batch that are compared with others, or told from them."""
        used = self.fields if self.masked is not None else {name for pair in self.plan.compared for name in pair}
        fields = {name: part.fields[name] for name in self.fields if name in used and name in part.fields}
        return Batch(fields, {}, part.weights, part.rows)

    def _second(self, part: Batch) -> Batch | None:
        """The second views of a batch under the fields' own names."""
        fields = {name: part.fields[second_view(name)] for name in self.fields if second_view(name) in part.fields}
        return Batch(fields, {}, part.weights, part.rows) if fields else None

    @torch.no_grad()
    def _taught(self, part: Batch) -> dict[str, Tokens]:
        """The teacher's tokens."""
        assert self.teacher is not None
        network: MultimodalModel = self.teacher.network
        return network.encode(self._first(part))

    def _compared(self, vectors: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Objective to its loss: the mean over the pairs of fields by their rows."""
        sums: dict[str, list[Tensor]] = {name: [] for name in self.objectives}
        total = 0
        for one, two in self.plan.compared:
            if one not in vectors or two not in vectors:
                continue
            both = batch.fields[one].present & batch.fields[two].present
            count = int(both.sum())
            if count < 2:
                continue
            items = self._items(one, two, batch).rows(both)
            for name, objective in self.objectives.items():
                sums[name].append(count * objective(vectors[one][both], vectors[two][both], items))
            total += count
        if not total:
            # Something to differentiate: no weight moves
            zero = torch.stack([weight.sum() for weight in self.parameters() if weight.requires_grad]).sum() * 0.0
            return dict.fromkeys(self.objectives, zero)
        return {name: self.plan.parts[name] * torch.stack(found).sum() / total for name, found in sums.items()}

    def _items(self, one: str, two: str, batch: Batch) -> Items:
        """Rows of one id, or of one content of either field, show the same item."""
        names = dict.fromkeys(code_name(name) for name in (ID, one, two.removesuffix(_SECOND)))
        codes = [batch.targets[name] for name in names if name in batch.targets]
        return Items.joined(codes, batch.size, batch.rows.device)
