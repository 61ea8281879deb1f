"""Rows without a label: what a mean teacher is sure of in a weak view is learnt from a strong one.

Shapes: B rows, N rows without a label, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from omnifuse.model import Change, ModelOutput, MultimodalModel
from omnifuse.tokens import Batch
from omnifuse.training.accumulation import rows_of
from omnifuse.training.batches import BatchSource
from omnifuse.training.mean_teacher import MeanTeacher
from omnifuse.training.pretraining import second_view

# Share of the running means that a step keeps
KEPT = 0.99
# Unlabelled rows a step for each labelled one
RATIO = 2
CONSISTENCY = "consistency"


class AdaptiveThreshold(nn.Module):
    """Which answers of a teacher are sure enough, class by class, and what they are after alignment.

    The confidence asked of a class follows the teacher's own mean confidence, and is lower for classes that it rarely
    answers, which are learnt more slowly. Answers are first multiplied by what the labels' shares of the classes are
    over what the teacher's have been.

    Args:
        shares: (C,) of the classes among the labels.

    Shape: (N, C) probabilities to (N,) classes, -1 where the teacher is not sure.

    References: Wang et al. 2023, FreeMatch (arXiv:2205.07246), equations 4 to 7 (thresholds); Zhang et al. 2021,
    FlexMatch; Berthelot et al. 2020, ReMixMatch (arXiv:1911.09785), section 3.1 (alignment of distributions).
    """

    mean: Tensor
    aligned: Tensor
    sure: Tensor
    wanted: Tensor

    def __init__(self, shares: Tensor) -> None:
        super().__init__()
        count = len(shares)
        self.register_buffer("wanted", shares.float() / shares.sum())
        self.register_buffer("mean", torch.full((count,), 1.0 / count))
        self.register_buffer("aligned", torch.full((count,), 1.0 / count))
        self.register_buffer("sure", torch.tensor(1.0 / count))

    @torch.no_grad()
    def forward(self, answers: Tensor) -> Tensor:
        """Classes of the rows that are sure; the running means take in these answers."""
        self.mean.lerp_(answers.mean(dim=0), 1 - KEPT)
        answers = answers * (self.wanted / self.mean.clamp(min=1e-6))
        answers = answers / answers.sum(dim=1, keepdim=True).clamp(min=1e-12)
        confidence, classes = answers.max(dim=1)
        self.sure.lerp_(confidence.mean(), 1 - KEPT)
        self.aligned.lerp_(answers.mean(dim=0), 1 - KEPT)
        asked = self.sure * self.aligned / self.aligned.max()
        return torch.where(confidence >= asked[classes], classes, -1)


class SemiSupervised(nn.Module):
    """A network that learns from labelled rows and from its teacher's answers to others.

    It stands where a network stands in the loop. A batch holds labelled rows first, then others; of the others it holds
    a strong view of each field too, under the name that `second_view` gives. The teacher sees the weak view.

    Args:
        model: Its targets are classes.
        shares: Target to the shares (C,) of its classes among the labels.
    """

    generator: torch.Generator | None = None
    purpose = "semi-supervised"

    def __init__(self, model: MultimodalModel, shares: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.fields, self.targets, self.tasks = model, model.fields, model.targets, model.tasks
        self.teacher: MeanTeacher[MultimodalModel] = MeanTeacher(model)
        self.thresholds = nn.ModuleList(AdaptiveThreshold(shares[name]) for name in model.targets)
        # The batch is taken whole
        self.rows_at_once = 1 << 30

    def after_step(self) -> None:
        """The teacher follows."""
        self.teacher.follow(self.model)

    def forward(self, batch: Batch, change: Change | None = None) -> ModelOutput:
        """The loss of labelled rows plus that of the others; without others the network's own output."""
        some = next((name for name in self.fields if second_view(name) in batch.fields), None)
        if not self.training or some is None:
            output: ModelOutput = self.model(batch)
            return output
        labelled = int((~self._lone(batch)).sum())
        output = self.model(_named(rows_of(batch, 0, labelled), self.fields))
        others = rows_of(batch, labelled, batch.size)
        if not others.size:
            return output
        pseudo, share = self._pseudo(others)
        strong = _strong(others, self.fields)
        told: ModelOutput = self.model(Batch(strong.fields, pseudo, strong.weights, strong.rows))
        parts = dict(output.parts)
        for name in self.targets:
            loss = told.targets[name].loss
            assert loss is not None
            parts[f"{CONSISTENCY} {name}"] = share[name] * loss
        return ModelOutput(output.targets, output.fused, output.fields, torch.stack(list(parts.values())).sum(), parts)

    @staticmethod
    def _lone(batch: Batch) -> Tensor:
        """(B,) bool: rows that come for their fields alone, marked by a weight below 0."""
        return batch.weights < 0

    @torch.no_grad()
    def _pseudo(self, others: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Target to the teacher's sure classes, -1 elsewhere, and to the share of the rows that are sure."""
        seen = _named(others, self.fields)
        readable = torch.stack([item.present for item in seen.fields.values()]).any(dim=0)
        network: MultimodalModel = self.teacher.network
        found = network(Batch(seen.fields, {}, seen.weights, seen.rows))
        pseudo, share = {}, {}
        for name, threshold in zip(self.targets, self.thresholds, strict=True):
            classes = threshold(found.targets[name].fused.float().softmax(dim=1)).where(readable, -1)
            pseudo[name], share[name] = classes, (classes >= 0).float().mean()
        return pseudo, share


def _named(part: Batch, fields: tuple[str, ...]) -> Batch:
    """The fields of their own names, rows of weight 1."""
    chosen = {name: part.fields[name] for name in fields if name in part.fields}
    return Batch(chosen, part.targets, torch.ones_like(part.weights), part.rows)


def _strong(part: Batch, fields: tuple[str, ...]) -> Batch:
    """The strong views under the fields' own names, rows of weight 1."""
    chosen = {name: part.fields[second_view(name)] for name in fields}
    return Batch(chosen, {}, torch.ones_like(part.weights), part.rows)


@dataclass
class SemiSource(BatchSource):
    """Labelled rows, then others, in each batch; an epoch is a pass over whichever takes more batches.

    Attributes:
        others: Rows without a label.
    """

    others: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def others_a_batch(self) -> int:
        """Rows without a label a batch."""
        return RATIO * self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return max(1, -(-len(self.rows) // self.batch_size), -(-len(self.others) // self.others_a_batch))

    def order(self, epoch: int) -> list[np.ndarray]:
        """The rows of each batch: labelled ones as often as it takes, others once."""
        draw = np.random.default_rng([self.seed, epoch, 13])
        count = self.steps_per_epoch
        size = min(self.batch_size, len(self.rows))
        passes = -(-count * size // len(self.rows))
        labelled = np.concatenate([draw.permutation(self.rows) for _ in range(passes)])
        others = np.array_split(draw.permutation(self.others), count)
        return [np.concatenate([labelled[n * size : (n + 1) * size], others[n]]) for n in range(count)]

    def share(self, batch: Batch) -> float:
        """Each batch counts alike."""
        return 1.0

    def _make(self, epoch: int, index: int, rows: np.ndarray) -> Batch:
        made = super()._make(epoch, index, rows)
        known = min(self.batch_size, len(self.rows))
        weights = made.weights.clone()
        weights[known:] = -1.0
        return Batch(made.fields, made.targets, weights, made.rows, made.mixed)
