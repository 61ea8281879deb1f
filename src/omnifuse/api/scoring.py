"""Scores of a model: complete, for every subset of inputs, with intervals, calibration and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.written import score_model
from omnifuse.data.bpe import TargetTokenizer
from omnifuse.data.targets import encode_target, unknown_classes
from omnifuse.errors import InputError
from omnifuse.evaluation import (
    calibration_subsets,
    calibration_summary,
    conformal_width,
    count_flops,
    count_parameters,
    fit_readout,
    fusion_verdict,
    interval_summary,
    known_rows,
    measure_rate,
    peak_memory_mb,
    score,
    with_intervals,
)
from omnifuse.model import MultimodalModel
from omnifuse.readout import RawOutputs, TargetReadout, subset_name
from omnifuse.schema import Schema, Target, TaskKind
from omnifuse.training.batches import make_batch
from omnifuse.training.predict import Subset, run_subsets

if TYPE_CHECKING:
    from omnifuse.api.model import Model
    from omnifuse.data.decode import Decoded
    from omnifuse.data.pack import Pack
    from omnifuse.data.tables import Table

Scores = dict[Subset, np.ndarray]


@dataclass(frozen=True)
class Answers:
    """Calibrated answers to R rows.

    Attributes:
        scores: Subset to scores.
        intervals: For regression, subset to intervals (R, 2).
        chosen: For classification, subset to numbers (R,) of the classes that are answered.
    """

    scores: Scores = field(default_factory=dict)
    intervals: Scores = field(default_factory=dict)
    chosen: Scores = field(default_factory=dict)

    def rows(self, places: np.ndarray) -> Answers:
        """Those of some rows."""
        return Answers(*({subset: item[places] for subset, item in part.items()} for part in _parts(self)))


def crossfitted_scores(
    bare: TargetReadout,
    raws: Mapping[Subset, RawOutputs],
    truth: np.ndarray,
    folds: np.ndarray,
    *,
    in_time: bool = False,
) -> Scores:
    """The scores of `crossfitted`."""
    return crossfitted(bare, raws, truth, folds, in_time=in_time).scores


def crossfitted(
    bare: TargetReadout,
    raws: Mapping[Subset, RawOutputs],
    truth: np.ndarray,
    folds: np.ndarray,
    *,
    in_time: bool = False,
) -> Answers:
    """Calibrated answers to rows, each by a calibration that was fitted on the rows of the other folds.

    Args:
        bare: Readout without calibration.
        raws: Subset to raw outputs of R rows.
        truth: (R, ...) labels.
        folds: (R,) fold of each row.
        in_time: Whether each fold is a stretch of time.
    """
    stretches = folds if in_time else None
    found = Answers()
    for fold in np.unique(folds):
        readout = fit_readout(bare, raws, truth, rows=folds != fold, stretches=stretches)
        asked = np.flatnonzero(folds == fold)
        part = answered(readout, {subset: raw.rows(asked) for subset, raw in raws.items()})
        for whole, of_fold in zip(_parts(found), _parts(part), strict=True):
            for subset, item in of_fold.items():
                whole.setdefault(subset, np.zeros((len(folds), *item.shape[1:]), item.dtype))[asked] = item
    return found


def _parts(answers: Answers) -> tuple[Scores, Scores, Scores]:
    return answers.scores, answers.intervals, answers.chosen


def answered(readout: TargetReadout, raws: Mapping[Subset, RawOutputs]) -> Answers:
    """Answers by one calibration."""
    kind = readout.target.kind
    scores = {subset: readout.scores(raw) for subset, raw in raws.items()}
    return Answers(
        scores,
        {subset: readout.intervals(raw) for subset, raw in raws.items()} if kind is TaskKind.REGRESSION else {},
        {subset: readout.choose(item) for subset, item in scores.items()} if kind is TaskKind.CLASSIFICATION else {},
    )


def subset_rows(raw: RawOutputs, subset: Subset) -> np.ndarray:
    """(R,) bool: rows with at least one input of the subset."""
    return np.asarray(np.any([raw.present[name] for name in subset], axis=0))


def target_result(
    target: Target,
    truth: np.ndarray,
    answers: Answers,
    raws: Mapping[Subset, RawOutputs],
    *,
    singles: Mapping[str, np.ndarray],
    simple: Mapping[str, np.ndarray],
    level: float = 0.9,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """Everything that `evaluate --json` says of one target.

    Args:
        target: What was asked.
        truth: (R, ...) labels.
        answers: Of each subset; the first is the complete one. The verdict on fusion and the calibration are of the
            most probable classes, all else is of the classes that are answered.
        raws: Subset to raw outputs, for which rows hold what.
        singles: Input to scores of the network that was trained on it alone.
        simple: Name to scores of a simple model.
        level: Share of the intervals that shall hold the truth.
        seed: Of bootstrap and tests.
        groups: (R,) codes of groups that are drawn whole.
    """
    scores, intervals, chosen = _parts(answers)
    complete = next(iter(scores))
    classes = target.classes
    subsets = {}
    for subset, found in scores.items():
        rows = subset_rows(raws[subset], subset) & known_rows(target.kind, truth)
        if rows.any():
            subsets[subset_name(subset)] = {
                **score(
                    target.kind,
                    truth[rows],
                    found[rows],
                    classes,
                    chosen=chosen[subset][rows] if subset in chosen else None,
                ),
                "rows": int(rows.sum()),
            }
    baselines = {
        name: with_intervals(target.kind, truth, found, classes, seed=seed, groups=groups)
        for name, found in {**singles, **simple}.items()
    }
    result = {
        "task": target.kind.value,
        "metrics": with_intervals(
            target.kind, truth, scores[complete], classes, seed=seed, groups=groups, chosen=chosen.get(complete)
        ),
        "subsets": subsets,
        "baselines": baselines,
        "fusion": fusion_verdict(target.kind, truth, scores[complete], singles, seed=seed, groups=groups),
        "calibration": calibration_summary(target.kind, truth, scores[complete]),
    }
    return result | ({"interval": _interval_result(intervals, truth, raws, level)} if intervals else {})


def _interval_result(
    intervals: Scores, truth: np.ndarray, raws: Mapping[Subset, RawOutputs], level: float
) -> dict[str, Any]:
    """How often the intervals hold the truth and how wide they are: complete, and for each subset of inputs."""
    subsets = {}
    for subset, found in intervals.items():
        rows = subset_rows(raws[subset], subset)
        if rows.any():
            subsets[subset_name(subset)] = interval_summary(found[rows], truth[rows])
    return {"level": level, **interval_summary(next(iter(intervals.values())), truth), "subsets": subsets}


def cost_of(members: Sequence[MultimodalModel], packs: Mapping[str, Pack], rows: np.ndarray) -> dict[str, Any]:
    """Parameters, operations a row, peak memory, rows a second of the whole ensemble."""
    import torch

    used = {name: packs[name] for name in members[0].fields}
    device = next(members[0].parameters()).device
    batch = make_batch(used, rows[:64]).to(device)

    def forward() -> None:
        with torch.inference_mode():
            for member in members:
                member(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return {
        "parameters": sum(count_parameters(member) for member in members),
        "flops": count_flops(forward) / max(batch.size, 1),
        "peak_mb": peak_memory_mb(),
        "samples_per_s": measure_rate(forward, samples=batch.size, repeats=3, seconds=1.0),
    }


def bare_readout(
    target: Target, schema: Schema, encoded: np.ndarray, rows: np.ndarray, *, level: float = 0.9
) -> TargetReadout:
    """The readout before calibration: scale and prior of the rows that were learnt from.

    Args:
        target: What is answered.
        schema: Names the inputs.
        encoded: (R, ...) labels of all rows.
        rows: Rows that were learnt from.
        level: Share of a number's intervals that shall hold the truth.
    """
    from omnifuse.api.member import number_scale

    names = tuple(item.name for item in schema.inputs)
    known = encoded[rows][known_rows(target.kind, encoded[rows])]
    if target.kind is TaskKind.REGRESSION:
        mean, scale = number_scale(known)
        width = conformal_width(np.full(len(known), mean), known, coverage=level)
        prior_width = width if np.isfinite(width) else None
        return TargetReadout(target, names, mean=mean, scale=scale, level=level, prior_width=prior_width)
    if target.kind is TaskKind.TAGGING:
        return TargetReadout(target, names, prior=tuple(float(share) for share in known.mean(axis=0)))
    counts = np.bincount(known, minlength=len(target.classes)) + 0.5
    return TargetReadout(target, names, prior=tuple(float(share) for share in counts / counts.sum()))


def labels_of(table: Table, target: Target, text: TargetTokenizer | None = None) -> np.ndarray:
    """Encoded labels of a table that is to be scored; `text` is the vocabulary of a target that is written.

    Raises:
        InputError: The column is absent, or holds no class that the model knows.
    """
    if target.name not in table.columns:
        raise InputError(
            f"the table has no label column '{target.name}'",
            where=f"its columns are {', '.join(table.columns)}",
            fix="Scoring needs the label; to answer rows without it use predict",
        )
    cells = table.cells(target.name)
    encoded = encode_target(cells, target, text)
    if not known_rows(target.kind, encoded).any():
        foreign = list(unknown_classes(cells, target))[:5]
        raise InputError(
            f"no label of '{target.name}' can be scored",
            where=f"it holds {', '.join(foreign)}" if foreign else "every cell is missing",
            fix=f"The model knows {', '.join(target.classes[:12])}"
            if target.classes
            else f"Give {'texts' if target.kind.writes else 'numbers'}",
        )
    return encoded


def evaluate_model(
    model: Model, table: Table, *, confined: bool = False, seed: int = 0, singles: Mapping[str, Model] | None = None
) -> dict[str, Any]:
    """Measure a model on a labelled table, with its single-field networks.

    Args:
        model: The model.
        table: Rows with labels; classes that the model does not know count in `unknown`.
        confined: Refuse media outside the table's folder.
        seed: Of the bootstrap.
        singles: Input to the network of that input alone; None takes those of the run folder.

    Returns:
        As `evaluate --json` prints it, and under "scores", "intervals" and "chosen" the arrays of complete answers,
        under "texts" what was written.
    """
    from omnifuse.api.store import load_singles

    truths = {
        target.name: labels_of(table, target, model.preprocessors.get(target.name)) for target in model.schema.targets
    }
    singles = load_singles(model) if singles is None else singles
    return evaluate_decoded(model, model.decode(table, confined=confined), truths, seed=seed, singles=singles)


def evaluate_decoded(
    model: Model,
    decoded: Decoded,
    truths: Mapping[str, np.ndarray],
    *,
    seed: int,
    singles: Mapping[str, Model],
    simple: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> dict[str, Any]:
    """As `evaluate_model` for rows that are decoded already.

    Args:
        model: The model.
        decoded: The rows.
        truths: Target to their labels.
        seed: Of the bootstrap.
        singles: Input to the network of that input alone.
        simple: Target to name to the rows' scores by a simple model.
    """
    table = decoded.table
    rows = np.arange(table.num_rows)
    raws = run_subsets(model.members, decoded.packs, rows, calibration_subsets(model.fields))
    targets, complete = {}, {}
    for target in model.schema.chosen:
        readout, truth = model.readouts[target.name], truths[target.name]
        alone = {
            name: other.readouts[target.name].scores(
                run_subsets(other.members, decoded.packs, rows, [(name,)])[(name,)]
            )
            for name, other in singles.items()
        }
        complete[target.name] = answers = answered(readout, raws)
        targets[target.name] = target_result(
            target,
            truth,
            answers,
            raws,
            singles=alone,
            simple={"majority": prior_scores(readout, len(rows)), **(simple or {}).get(target.name, {})},
            level=readout.level,
            seed=seed,
        )
        foreign = unknown_classes(table.cells(target.name), target)
        if foreign:
            targets[target.name]["unknown"] = foreign
    texts = score_model(model, decoded, seed=seed) if model.schema.written else {}
    targets |= {name: item.result for name, item in texts.items()}
    remarks = [remark for pack in decoded.packs.values() for remark in pack.remarks]
    warnings = sorted(
        {f"{cell.field}: {cell.reason}" for cell in decoded.bad} | {f"{item.field}: {item.text}" for item in remarks}
    )
    return {
        "rows": table.num_rows,
        # In the order of the labels, whatever they ask
        "targets": {target.name: targets[target.name] for target in model.schema.targets},
        "cost": cost_of(model.members, decoded.packs, rows),
        "warnings": [*decoded.notes, *warnings[:20]],
        "scores": {name: answers.scores[model.fields] for name, answers in complete.items()},
        "intervals": {name: next(iter(item.intervals.values())) for name, item in complete.items() if item.intervals},
        "chosen": {name: next(iter(item.chosen.values())) for name, item in complete.items() if item.chosen},
        "texts": texts,
    }


def prior_scores(readout: TargetReadout, count: int) -> np.ndarray:
    """What is answered without reading anything: class shares, or the mean."""
    if not readout.prior:
        return np.full(count, readout.mean)
    return np.tile(np.asarray(readout.prior), (count, 1))
