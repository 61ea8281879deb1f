"""The model: encoders, projection to one width, fusion, tasks. Shapes: B rows, T tokens, D width, E members."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from omnifuse.association import Space
from omnifuse.tasks import Summary, TaskOutput
from omnifuse.tokens import Batch, Fused, Tokens, scatter

Change = Callable[[dict[str, Tokens]], dict[str, Tokens]]


@dataclass(frozen=True)
class ModelOutput:
    """What a forward gives.

    Attributes:
        targets: Target to its outputs.
        fused: The unified representation.
        fields: Field to its tokens of the one width.
        loss: Sum of the tasks' losses and the alignment, None without targets.
        parts: Name to each part of the loss, for logs.
        vectors: Field to its unit vectors (B, S) in the shared space, where the model has one.
    """

    targets: dict[str, TaskOutput]
    fused: Fused
    fields: dict[str, Tokens]
    loss: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)
    vectors: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class ShallowAnswers:
    """Target to shallow head to its answers (B, C), and to the error (B,) it expects where it expects one."""

    values: dict[str, dict[str, Tensor]]
    spreads: dict[str, dict[str, Tensor]]


def _chosen(heads: nn.Module, names: Collection[str] | None) -> dict[str, nn.Module]:
    """The shallow heads of these names, None for all."""
    return {name: head for name, head in heads.named_children() if names is None or name in names}


class MultimodalModel(nn.Module):
    """encoders -> projectors -> (shared trunk) -> fusion -> tasks.

    Parts are passed in built.

    Args:
        encoders: Field to its encoder.
        projectors: To the one width.
        fusion: Tokens of any subset of the fields to one representation.
        tasks: Target to its task.
        trunk: Blocks that all fields share, or None.
        alignment: Auxiliary loss between the fields' tokens, or None.
        alignment_weight: Its weight.
        shallow: Target to its shallow heads by name, which read the encoders' summaries.
        modality_dropout: Chance of each field to be hidden from the fusion in training, row by row.
        space: From the fields' tokens to vectors that are compared across fields, or None.
    """

    generator: torch.Generator | None = None

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        projectors: nn.Module,
        fusion: nn.Module,
        tasks: Mapping[str, nn.Module],
        *,
        trunk: nn.Module | None = None,
        alignment: nn.Module | None = None,
        alignment_weight: float = 0.0,
        shallow: Mapping[str, Mapping[str, nn.Module]] | None = None,
        modality_dropout: float = 0.0,
        space: Space | None = None,
    ) -> None:
        super().__init__()
        self.fields, self.targets = tuple(encoders), tuple(tasks)
        self.encoders = nn.ModuleList(encoders.values())
        self.projectors, self.trunk, self.fusion = projectors, trunk, fusion
        self.tasks = nn.ModuleList(tasks.values())
        self.alignment, self.alignment_weight = alignment, alignment_weight
        self.modality_dropout = modality_dropout
        self.space = space
        self.shallow_targets = tuple(shallow or {})
        self.shallow = nn.ModuleList(nn.ModuleDict(heads) for heads in (shallow or {}).values())

    def initialise(self, batch: Batch) -> None:
        """Let encoders measure statistics of training rows."""
        for name, encoder in zip(self.fields, self.encoders, strict=True):
            measure = getattr(encoder, "initialise", None)
            if measure is not None and name in batch.fields and len(batch.fields[name].lengths):
                measure(batch.fields[name])

    def initialise_space(self, batch: Batch) -> None:
        """Let the shared space see some rows, once the encoders have measured theirs."""
        if self.space is not None:
            training = self.training
            with torch.no_grad():
                self.space.initialise(self.eval().encode(batch))
            self.train(training)

    def encode(self, batch: Batch) -> dict[str, Tokens]:
        """Tokens (B, T, D) of each field in the batch; only rows that have the field are computed."""
        tokens: dict[str, Tokens] = {}
        for name, encoder in zip(self.fields, self.encoders, strict=True):
            if name in batch.fields and len(batch.fields[name].lengths):
                tokens[name] = encoder(batch.fields[name])
        tokens = self.projectors(tokens)
        if self.trunk is not None:
            tokens = self.trunk(tokens)
        return {name: scatter(item, batch.fields[name].present) for name, item in tokens.items()}

    def summarised_fields(self, heads: Collection[str] | None = None) -> tuple[str, ...]:
        """Fields that the shallow heads of these names read; None: all of them."""
        chosen = [head for found in self.shallow for head in _chosen(found, heads).values()]
        read = {name for head in chosen for name in head.fields}  # type: ignore[union-attr]
        return tuple(name for name in self.fields if name in read)

    def summarise(self, batch: Batch, heads: Collection[str] | None = None) -> dict[str, Summary]:
        """Fixed features of the fields in the batch that the shallow heads of these names read."""
        found: dict[str, Summary] = {}
        wanted = self.summarised_fields(heads)
        for name, encoder in zip(self.fields, self.encoders, strict=True):
            if name in wanted and name in batch.fields and len(batch.fields[name].lengths):
                part = batch.fields[name]
                values = encoder.summarise(part)  # type: ignore[operator]
                spread = values.new_zeros((len(part.present), values.shape[1]))
                spread[part.present] = values
                found[name] = Summary(spread, part.present)
        return found

    def fit_shallow(self, batch: Batch) -> None:
        """Fit the shallow heads to a batch of training rows at once."""
        tasks = dict(zip(self.targets, self.tasks, strict=True))
        summaries = self.summarise(batch)
        for target, heads in zip(self.shallow_targets, self.shallow, strict=True):
            for head in _chosen(heads, None).values():
                head.fit(summaries, tasks[target].dense_target(batch.targets[target]))  # type: ignore[operator]

    def refit_shallow(self, batch: Batch, names: Collection[str]) -> None:
        """Fit the shallow heads of these names to other rows, with what `fit_shallow` chose."""
        tasks = dict(zip(self.targets, self.tasks, strict=True))
        summaries = self.summarise(batch, names)
        for target, heads in zip(self.shallow_targets, self.shallow, strict=True):
            for head in _chosen(heads, names).values():
                head.refit(summaries, tasks[target].dense_target(batch.targets[target]))  # type: ignore[operator]

    def answer_shallow(
        self, summaries: Mapping[str, Summary], num_rows: int, heads: Collection[str] | None = None
    ) -> ShallowAnswers:
        """Answers of the shallow heads of these names, from the summaries of any subset of the fields."""
        values: dict[str, dict[str, Tensor]] = {}
        spreads: dict[str, dict[str, Tensor]] = {}
        for target, found in zip(self.shallow_targets, self.shallow, strict=True):
            values[target] = {}
            for name, head in _chosen(found, heads).items():
                if hasattr(head, "answer"):
                    values[target][name], spread = head.answer(summaries, num_rows)  # type: ignore[operator]
                    if spread is not None:
                        spreads.setdefault(target, {})[name] = spread
                else:
                    values[target][name] = head(summaries, num_rows)
        return ShallowAnswers(values, spreads)

    def read(
        self,
        tokens: dict[str, Tokens],
        targets: Mapping[str, Tensor] | None = None,
        weights: Tensor | None = None,
        *,
        num_rows: int | None = None,
        heads: Collection[str] | None = None,
    ) -> ModelOutput:
        """Fuse and answer.

        Args:
            tokens: Of any subset of the fields.
            targets: Target to its values, or None.
            weights: (B,) row weights.
            num_rows: B; needed where `tokens` is empty.
            heads: Fields whose own heads answer; all by default.
        """
        fused = self.fusion(self._hide(tokens) if tokens else self._nothing(num_rows or 0))
        outputs, parts = {}, {}
        headed = tokens if heads is None else {name: item for name, item in tokens.items() if name in heads}
        for name, task in zip(self.targets, self.tasks, strict=True):
            target = targets.get(name) if targets is not None else None
            outputs[name] = task(fused, headed, target, weights)
            if outputs[name].loss is not None:
                parts[name] = outputs[name].loss
        if parts and self.alignment is not None:
            parts["alignment"] = self.alignment_weight * self.alignment(tokens)
        loss = torch.stack(list(parts.values())).sum() if parts else None
        # Learnt before the tasks are; in their training nobody reads it
        vectors = None if self.space is None or self.training else self.in_space(tokens, len(fused.pooled))
        return ModelOutput(outputs, fused, tokens, loss, parts, vectors)

    def in_space(self, tokens: dict[str, Tokens], num_rows: int) -> dict[str, Tensor]:
        """(B, S) unit vectors of every field in the shared space; rows without it hold numbers that nobody reads."""
        assert isinstance(self.space, Space), "the model has no shared space"
        found = self.space(tokens)
        some = next(self.space.parameters())
        nothing = some.new_zeros((num_rows, self.space.output_dim))
        return {name: found.get(name, nothing) for name in self.fields}

    def forward(self, batch: Batch, change: Change | None = None) -> ModelOutput:
        """Encode, change the tokens (mixup) where asked, fuse, answer and measure the loss."""
        tokens = self.encode(batch)
        if change is not None:
            tokens = change(tokens)
        return self.read(tokens, {**batch.targets, **batch.mixed}, batch.weights, num_rows=batch.size)

    def _nothing(self, num_rows: int) -> dict[str, Tokens]:
        some = next(self.fusion.parameters())
        empty = some.new_zeros((num_rows, 1, some.shape[-1]))
        return {self.fields[0]: Tokens(empty, torch.zeros((num_rows, 1), dtype=torch.bool, device=some.device))}

    def _hide(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """Modality dropout: hide fields of rows at random, never the last one of a row."""
        if not self.training or self.modality_dropout <= 0 or len(tokens) < 2:
            return tokens
        present = torch.stack([item.present for item in tokens.values()], dim=1)
        draws = torch.rand(present.shape, device=present.device, generator=self.generator)
        kept = present & (draws >= self.modality_dropout)
        # The field with the largest draw stays where all were hidden
        rescue = torch.zeros_like(kept)
        rescue.scatter_(1, torch.where(present, draws, -1.0).argmax(dim=1, keepdim=True), True)
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, rescue & present)
        return {
            name: Tokens(item.values * kept[:, index, None, None], item.mask & kept[:, index, None])
            for index, (name, item) in enumerate(tokens.items())
        }


class Ensemble(nn.Module):
    """Members of one architecture, trained on different rows; their answers are averaged by the readout."""

    def __init__(self, members: Sequence[MultimodalModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the members read."""
        names: tuple[str, ...] = self.members[0].fields  # type: ignore[assignment]
        return names

    def forward(self, batch: Batch) -> list[ModelOutput]:
        """Each member's outputs."""
        return [member(batch) for member in self.members]
