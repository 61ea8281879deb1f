"""From trained networks to a model and its scores, on rows that the answering networks had not learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from omnifuse.api.comparison import Comparison, as_models
from omnifuse.api.members import Network, answers_of_members
from omnifuse.api.model import Model
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.reporting import Scored
from omnifuse.api.scoring import Answers, answered, bare_readout, crossfitted, evaluate_decoded, target_result
from omnifuse.api.simple import Asked
from omnifuse.api.written import score_held_out, speech_language
from omnifuse.evaluation import calibration_subsets, fit_readout
from omnifuse.model import Ensemble
from omnifuse.readout import RawOutputs, TargetReadout
from omnifuse.readout.speech import SpeechLanguage
from omnifuse.training.predict import Subset

# Target to metric to (mean, deviation, number of seeds)
Seeds = dict[str, dict[str, tuple[float, float, int]]]


@dataclass(frozen=True)
class Trained:
    """One seed's networks and what they answered.

    Attributes:
        network: What was trained.
        model: The same with preprocessing and calibration.
        scored: Rows that were scored.
        results: Target to what `evaluate --json` says of it.
        comparison: What the model was held against.
    """

    network: Network
    model: Model
    scored: Scored
    results: dict[str, Any]
    comparison: Comparison


def measure(
    prepared: Prepared,
    partition: Partition,
    *,
    network: Network,
    comparison: Comparison,
    asked: Asked | None,
    seed: int,
) -> Trained:
    """Calibrate and score the networks, for every subset of fields.

    Args:
        prepared: The table.
        partition: Which of its rows are learnt from, calibrated on and scored.
        network: What was trained.
        comparison: Answers that it is held against.
        asked: Another table whose rows are scored, or None.
        seed: Of bootstrap and tests.
    """
    subsets = calibration_subsets(tuple(item.name for item in prepared.schema.inputs))
    calibrate = answers_of_members(prepared, partition, network, partition.calibrate, subsets)
    bare, readouts = {}, {}
    for target in prepared.schema.chosen:
        encoded = prepared.targets[target.name]
        bare[target.name] = bare_readout(
            target, prepared.schema, encoded, partition.members[0].train, level=network.spec.interval
        )
        truth, stretches = encoded[partition.calibrate], partition.stretches(partition.calibrate)
        readouts[target.name] = fit_readout(bare[target.name], calibrate, truth, stretches=stretches)
    model = Model(
        Ensemble(network.members),
        schema=prepared.schema,
        preprocessors=prepared.preprocessors,
        readouts=readouts,
        manifest={"spec": network.spec.to_json(), "num_members": len(network.members)},
        language=_language(prepared),
    )
    if asked is not None:
        scored, results = _score_asked(model, comparison, prepared, asked, seed)
    else:
        answers = calibrate
        if partition.fold is None:
            answers = answers_of_members(prepared, partition, network, partition.report, subsets)
        elif len(partition.report) < len(partition.calibrate):
            answers = {subset: raw.rows(partition.places) for subset, raw in calibrate.items()}
        asked_of = (answers, readouts) if partition.fold is None else (calibrate, bare)
        scores = _held_out_scores(prepared, partition, *asked_of)
        level = network.spec.interval
        scored, results = _score_held_out(
            prepared, partition, answers, scores, comparison=comparison, level=level, seed=seed
        )
    if prepared.schema.written and asked is None:
        texts = score_held_out(prepared, partition, network, seed=seed)
        scored = replace(scored, texts=texts)
        results |= {name: item.result for name, item in texts.items()}
        # In the order of the labels, whatever they ask
        results = {target.name: results[target.name] for target in prepared.schema.targets}
    return Trained(network, model, scored, results, comparison)


def _language(prepared: Prepared) -> dict[str, SpeechLanguage]:
    """Target that is transcribed to what all transcripts say."""
    found = {item.name: speech_language(prepared, item, prepared.rows) for item in prepared.schema.written}
    return {name: item for name, item in found.items() if item is not None}


def _held_out_scores(
    prepared: Prepared,
    partition: Partition,
    answers: Mapping[Subset, RawOutputs],
    readouts: Mapping[str, TargetReadout],
) -> dict[str, Answers]:
    """Target to answers to held-out rows: by its readout, in folds by one without the row's own fold.

    Args:
        prepared: The table.
        partition: Which of its rows are scored.
        answers: Subset to raw outputs of the report rows, or in folds of the calibration rows.
        readouts: Target to its readout; in folds the bare one.
    """
    if partition.fold is None:
        return {name: answered(readout, answers) for name, readout in readouts.items()}
    rows, folds = partition.calibrate, partition.fold[partition.calibrate]
    return {
        name: crossfitted(bare, answers, prepared.targets[name][rows], folds, in_time=partition.in_time).rows(
            partition.places
        )
        for name, bare in readouts.items()
    }


def _score_held_out(
    prepared: Prepared,
    partition: Partition,
    answers: Mapping[Subset, RawOutputs],
    found: Mapping[str, Answers],
    *,
    comparison: Comparison,
    level: float,
    seed: int,
) -> tuple[Scored, dict[str, Any]]:
    """Score rows of the training table that were held out: by their fold's member, calibrated without them."""
    rows = partition.report
    truths = {target.name: prepared.targets[target.name][rows] for target in prepared.schema.chosen}
    complete = {name: next(iter(item.scores.values())) for name, item in found.items()}
    intervals = {name: next(iter(item.intervals.values())) for name, item in found.items() if item.intervals}
    chosen = {name: next(iter(item.chosen.values())) for name, item in found.items() if item.chosen}
    results = {
        target.name: target_result(
            target,
            truths[target.name],
            found[target.name],
            answers,
            singles=comparison.singles.get(target.name, {}),
            simple=comparison.simple.get(target.name, {}),
            level=level,
            seed=seed,
            groups=prepared.groups[rows] if prepared.groups is not None else None,
        )
        for target in prepared.schema.chosen
    }
    return Scored(prepared.table, rows, truths, complete, partition.words, intervals, chosen), results


def _score_asked(
    model: Model, comparison: Comparison, prepared: Prepared, asked: Asked, seed: int
) -> tuple[Scored, dict[str, Any]]:
    """Score the rows of the table that the user gave for it."""
    singles = as_models(comparison, prepared)
    evaluated = evaluate_decoded(
        model, asked.decoded, asked.truths, seed=seed, singles=singles, simple=comparison.simple
    )
    table = asked.decoded.table
    words = f"the {table.num_rows} rows of {table.name}, by the average of all members"
    rows = np.arange(table.num_rows)
    arrays = (evaluated["scores"], words, evaluated["intervals"], evaluated["chosen"])
    return Scored(table, rows, asked.truths, *arrays, texts=evaluated["texts"]), evaluated["targets"]


def add_seeds(results: Sequence[dict[str, Any]]) -> Seeds:
    """Mean and deviation of each metric over the seeds, also written into the first seed's results.

    Args:
        results: Target to its result, one dict a seed.
    """
    if len(results) < 2:
        return {}
    seeds: Seeds = {}
    for name, first in results[0].items():
        found = {}
        for metric in first["metrics"]:
            values = [item[name]["metrics"][metric]["value"] for item in results]
            if all(value is not None for value in values):
                found[metric] = (float(np.mean(values)), float(np.std(values, ddof=1)), len(values))
        first["seeds"] = {
            metric: {"mean": mean, "sd": sd, "seeds": count} for metric, (mean, sd, count) in found.items()
        }
        seeds[name] = found
    return seeds
