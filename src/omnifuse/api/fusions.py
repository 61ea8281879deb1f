"""Several fusions on the same footing: equal budgets, the same rows and seeds, each paired against the default."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from omnifuse.api.budget import Budget
from omnifuse.api.comparison import subset_scores
from omnifuse.api.member import Task
from omnifuse.api.members import Network, train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.evaluation import (
    ENOUGH_ROWS,
    LEVEL,
    MAIN_METRIC,
    STRICT_LEVEL,
    count_flops,
    count_parameters,
    holm,
    known_rows,
    paired_test,
    score,
)
from omnifuse.presets import Preset
from omnifuse.schema import Target
from omnifuse.training.batches import make_batch

# Name of the networks that make what all fusions share, and the least part of the time that is left for the fusions
SHARED = "shared"
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class FusionRow:
    """One fusion of a comparison.

    Attributes:
        name: In `fusion.FUSIONS`, or "ensemble".
        mean: Main metric of the first target on the report rows, mean over seeds.
        sd: Its deviation over seeds, None with one seed.
        difference: Answers averaged over seeds, against the default's: positive = better. None for the default.
        low: Lower end of the 95% interval of the difference.
        high: Upper end.
        p: Of a paired test, corrected for the number of fusions (Holm).
        parameters: Of all members.
        flops: Operations a row.
        epochs: Passes in the time that each fusion had, mean over members and seeds.
        samples_per_s: Training rows a second of a member.
    """

    name: str
    mean: float | None
    sd: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    parameters: int
    flops: float
    epochs: float
    samples_per_s: float


@dataclass(frozen=True)
class FusionTable:
    """A comparison of fusions.

    Attributes:
        target: Target that they are compared by.
        metric: Its main metric.
        default: What the others are held against.
        chosen: What the model is built with: the default unless another one is surely better.
        rows: One a fusion, the default first, then by falling mean.
        words: The verdict as a sentence.
    """

    target: str
    metric: str
    default: str
    chosen: str
    rows: tuple[FusionRow, ...]
    words: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}


def compare_fusions(
    prepared: Prepared,
    partition: Partition,
    preset: Preset,
    names: Sequence[str],
    *,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> tuple[FusionTable, dict[int, Network]]:
    """Train a model with each fusion and each seed, and hold each against the first.

    With a time limit the shallow heads are fitted before, once a seed, and whatever is loaded or made on first use is
    used once: else the first fusion would pay for the others.

    Args:
        prepared: The table.
        partition: Which rows do what; the same for all.
        preset: What is built but for the fusion.
        names: The fusions, the default first.
        options: Of the fit: seeds, epochs.
        seconds: Time limit of all together, shared equally; None for none.
        listen: Hears of stages.

    Returns:
        The table, and seed to the networks of the fusion that was chosen.
    """
    target = prepared.schema.chosen[0]
    networks: dict[str, dict[int, Network]] = {}
    scores: dict[str, list[np.ndarray]] = {}
    seeds = range(options.seed, options.seed + options.seeds)

    def train(name: str, seed: int, label: str, limit: float | None, like: Network | None) -> Network:
        spec = replace(preset.model, fusion=name)
        task = Task(f"{label}-seed{seed}", spec, preset.training, prepared.schema, options.out, seed)
        budget = Budget(limit, (1.0,) * len(partition.members))
        return train_members(prepared, partition, task, options=options, budget=budget, listen=listen, like=like)

    shared: dict[int, Network] = {}
    if seconds is not None:
        # What all fusions share is made before the clock of any of them runs
        began = time.monotonic()
        listen("stage", {"text": "heads that all fusions share"})
        shared = {seed: train(names[0], seed, SHARED, 0.0, None) for seed in seeds}
        seconds = max(seconds - (time.monotonic() - began), LEAST_SHARE * seconds)
    share = None if seconds is None else seconds / (len(names) * options.seeds)
    for name in names:
        each = "" if share is None else f", {share:.0f} s for each seed"
        listen("stage", {"text": f"fusion {name}{each}"})
        networks[name], scores[name] = {}, []
        for seed in seeds:
            network = train(name, seed, name, share, shared.get(seed))
            shared.setdefault(seed, network)
            inputs = tuple(item.name for item in prepared.schema.inputs)
            networks[name][seed] = network
            scores[name].append(subset_scores(prepared, partition, inputs, network)[0][target.name])
    table = _table(prepared, partition, target, networks, scores, seed=options.seed)
    return table, networks[table.chosen]


def _table(
    prepared: Prepared,
    partition: Partition,
    target: Target,
    networks: dict[str, dict[int, Network]],
    scores: dict[str, list[np.ndarray]],
    *,
    seed: int,
) -> FusionTable:
    truth = prepared.targets[target.name][partition.report]
    groups = None if prepared.groups is None else prepared.groups[partition.report]
    metric, (default, *others) = MAIN_METRIC[target.kind], scores
    mean_scores = {name: np.mean(found, axis=0) for name, found in scores.items()}
    tests = {
        name: paired_test(target.kind, truth, mean_scores[name], mean_scores[default], seed=seed, groups=groups)
        for name in others
    }
    corrected = dict(zip(others, holm([tests[name]["p"] for name in others]), strict=True))
    rows = []
    for name, found in scores.items():
        values = [score(target.kind, truth, item, target.classes)[metric] for item in found]
        known = [value for value in values if value is not None]
        test = tests.get(name)
        rows.append(
            FusionRow(
                name,
                float(np.mean(known)) if known else None,
                float(np.std(known, ddof=1)) if len(known) > 1 else None,
                None if test is None else test["difference"],
                None if test is None else test["low"],
                None if test is None else test["high"],
                corrected.get(name),
                **_cost(prepared, partition, list(networks[name].values())),
            )
        )
    first, *rest = rows
    rest.sort(key=lambda row: -(row.mean if row.mean is not None else -np.inf))
    chosen, words = _verdict(first, rest, int(known_rows(target.kind, truth).sum()))
    return FusionTable(target.name, metric, default, chosen, (first, *rest), words)


def _verdict(default: FusionRow, others: Sequence[FusionRow], rows: int) -> tuple[str, str]:
    """The fusion to take, and why."""
    level = LEVEL if rows >= ENOUGH_ROWS else STRICT_LEVEL
    sure = [row for row in others if row.p is not None and row.p < level and (row.difference or 0.0) > 0]
    if not sure:
        best = max(others, key=lambda row: row.difference if row.difference is not None else -np.inf)
        by = "" if best.difference is None else f"; the best of them, {best.name}, differs by {best.difference:+.3f}"
        return default.name, (
            f"No fusion beats {default.name} beyond chance on {rows} rows (p < {level:g} after Holm's correction for "
            f"{len(others)} comparisons){by}. The model is built with {default.name}."
        )
    best = max(sure, key=lambda row: row.difference or 0.0)
    return best.name, (
        f"{best.name} beats {default.name} by {best.difference:+.3f} (p = {best.p:.2g} after Holm's correction) on "
        f"{rows} rows and builds the model. It was chosen on these rows, so its score is a little favoured."
    )


def _cost(prepared: Prepared, partition: Partition, networks: Sequence[Network]) -> dict[str, Any]:
    import torch

    members = networks[0].members
    rows = partition.report[:16] if len(partition.report) else prepared.rows[:16]
    batch = make_batch({item.name: prepared.packs[item.name] for item in prepared.schema.inputs}, rows)
    batch = batch.to(next(members[0].parameters()).device)

    def answer() -> None:
        for member in members:
            member(batch)

    with torch.inference_mode():
        flops = count_flops(answer) / len(rows)
    results = [item for network in networks for item in network.results]
    return {
        "parameters": sum(count_parameters(member) for member in members),
        "flops": float(flops),
        "epochs": float(np.mean([item.epochs for item in results])),
        "samples_per_s": float(np.mean([item.samples_per_s for item in results])),
    }
