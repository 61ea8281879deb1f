"""Fitting a `TargetReadout`: weights of the heads and a temperature for each subset of inputs.

Both are fitted on rows that the networks had not learnt from. The pooled log-probabilities of K heads with weights w
at temperature T are a logistic regression with the K non-negative slopes w / T, so the weights are found by Newton's
method on a convex function. A normal prior pulls the slopes towards the fused head alone (few rows change little, many
rows decide); the temperature is then searched anew for the mean of the members' probabilities, which is what users get.

Where the rows are stretches of time, each stretch counts as one, since its rows repeat one another, and the prior is
the first shallow head alone where there is one: beyond what it has seen, a network has to earn its weight over a line.

Shapes: E members, N rows, C outputs, K heads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from omnifuse.evaluation.metrics import LEAST_PROBABILITY, known_rows
from omnifuse.evaluation.newton import Loss, projected_newton
from omnifuse.evaluation.spread import fit_spread
from omnifuse.evaluation.tilt import fit_tilt
from omnifuse.readout import RawOutputs, TargetReadout, subset_name
from omnifuse.readout.interval import doubt
from omnifuse.readout.target_readout import FUSED, SHARPEST, SOFTEST, SubsetCalibration, combine, log_softmax, sigmoid
from omnifuse.schema import TaskKind

MOST_ENUMERATED_INPUTS = 5
# With fewer rows the subset is left to the calibration of the next smaller one
FEWEST_ROWS = 10
# Precision of the prior of slopes (its standard deviation is a half) and of the logarithm of the temperature
SLOPE_PULL, TEMPERATURE_PULL = 4.0, 0.25
# Numbers in the pooled arrays above which rows are thinned evenly
MOST_CELLS = 4_000_000
LEAST_WEIGHT = 1e-3


def calibration_subsets(inputs: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Subsets of inputs to calibrate: all with up to 5 inputs, else the whole, all but one, and each alone.

    Example:
        >>> calibration_subsets(("image", "audio"))
        [('image', 'audio'), ('image',), ('audio',)]
    """
    if len(inputs) > MOST_ENUMERATED_INPUTS:
        sizes = [len(inputs), len(inputs) - 1, 1]
    else:
        sizes = list(range(len(inputs), 0, -1))
    return [subset for size in sizes for subset in itertools.combinations(inputs, size)]


def fit_readout(
    bare: TargetReadout,
    raws: Mapping[tuple[str, ...], RawOutputs],
    truth: np.ndarray,
    *,
    rows: np.ndarray | None = None,
    stretches: np.ndarray | None = None,
) -> TargetReadout:
    """Calibrate one target.

    Args:
        bare: The readout without subsets: target, inputs, mean, scale and prior.
        raws: Subset of inputs (in the order of `bare.inputs`, see `calibration_subsets`) to the outputs of R rows when
            the network is given this subset only. All hold the same rows, none of them learnt from.
        truth: (R, ...) labels of these rows as for `score`, regression in the label's own units.
        rows: Numbers (or bool mask) of the rows to use; all by default.
        stretches: (R,) codes of the stretches of time that were held out; None where rows stand for themselves.

    Returns:
        The readout with a calibration for each subset of which at least 10 labelled rows have exactly these inputs,
        and for classification with the tilt that suits the rows under the first subset (none with stretches of time).
    """
    usable = known_rows(bare.target.kind, truth)
    if rows is not None:
        chosen = np.zeros(len(truth), bool)
        chosen[rows] = True
        usable &= chosen
    subsets = {}
    for names, raw in raws.items():
        assert len(truth) == raw.num_rows, f"{len(truth)} labels but {raw.num_rows} rows of {names}"
        exact = usable & np.all([raw.present[name] == (name in names) for name in bare.inputs], axis=0)
        found = np.flatnonzero(exact)
        if len(found) >= FEWEST_ROWS:
            subsets[subset_name(names)] = _fit_subset(bare, names, raw, truth, found, stretches)
    fitted = replace(bare, subsets=subsets)
    # Rows of a stretch of time repeat one another: they cannot tell what holds for other times
    return fitted if stretches is not None else replace(fitted, tilt=_tilt(fitted, raws, truth, np.flatnonzero(usable)))


def _tilt(
    readout: TargetReadout, raws: Mapping[tuple[str, ...], RawOutputs], truth: np.ndarray, rows: np.ndarray
) -> float:
    """Of the answers to rows as they are, with all inputs that they have."""
    if readout.target.kind is not TaskKind.CLASSIFICATION or not readout.prior or not raws:
        return 0.0
    raw = next(iter(raws.values())).rows(rows)
    return fit_tilt(readout.scores(raw), truth[rows], np.asarray(readout.prior))


def _fit_subset(
    bare: TargetReadout,
    names: tuple[str, ...],
    raw: RawOutputs,
    truth: np.ndarray,
    rows: np.ndarray,
    stretches: np.ndarray | None,
) -> SubsetCalibration:
    target = bare.target
    listed = raw.fields.get(target.name, {})
    shallow = [name for name in listed if name not in bare.inputs]
    outputs = {FUSED: raw.fused[target.name], **{name: listed[name] for name in (*shallow, *names) if name in listed}}
    members, _, width = outputs[FUSED].shape
    thinning = math.ceil(len(rows) * members * width * len(outputs) / MOST_CELLS)
    rows = rows[::thinning]
    prior = _prior(list(outputs), shallow[0] if shallow else FUSED, rows, stretches)
    heads = np.stack([values[:, rows].astype(np.float64) for values in outputs.values()])
    if target.kind is TaskKind.REGRESSION:
        label = (truth[rows] - bare.mean) / bare.scale
        values = heads[..., 0].mean(axis=1)
        named = _named(list(outputs), _simplex_weights(values, label, prior))
        by_name = dict(zip(outputs, heads, strict=True))
        spreads = {name: values[:, rows] for name, values in raw.spreads.get(target.name, {}).items()}
        signs = doubt(by_name, named, spreads)
        errors = combine(target.kind, by_name, SubsetCalibration(named))[:, 0] - label
        interval = fit_spread(signs, errors, coverage=bare.level, pull=prior.pull)
        return SubsetCalibration(named, interval=interval)
    logs = log_softmax(heads) if target.kind.chooses_class else heads
    weights = _slopes(target.kind, logs, truth[rows], prior)
    pooled = np.tensordot(weights, logs, axes=1)
    return SubsetCalibration(_named(list(outputs), weights), best_temperature(target.kind, pooled, truth[rows]))


@dataclass(frozen=True)
class _Prior:
    """Weights (K,) that the prior pulls to, and how strongly against the mean loss of the rows."""

    weights: np.ndarray
    pull: float


def _prior(heads: list[str], shallow: str, rows: np.ndarray, stretches: np.ndarray | None) -> _Prior:
    simplest = FUSED if stretches is None else shallow
    independent = len(rows) if stretches is None else len(np.unique(stretches[rows]))
    return _Prior(np.array([float(name == simplest) for name in heads]), SLOPE_PULL / independent)


def _named(names: list[str], weights: np.ndarray) -> dict[str, float]:
    """Weights that count, rounded so that the artefact reads well; they sum to 1."""
    pairs = zip(names, weights, strict=True)
    return {name: round(float(weight), 6) for name, weight in pairs if weight >= LEAST_WEIGHT}


def best_temperature(kind: TaskKind, pooled: np.ndarray, truth: np.ndarray) -> float:
    """The temperature of least log loss of the members' mean probabilities.

    Args:
        kind: Classification, ordinal or tagging.
        pooled: (E, N, C) logits.
        truth: (N,) class numbers, or (N, C) tags.

    Returns:
        Between `SHARPEST` and `SOFTEST`; a weak prior about 1 decides where no row speaks against it.
    """

    def loss(log_temperature: float) -> float:
        heated = pooled / math.exp(log_temperature)
        pull = 0.5 * TEMPERATURE_PULL * log_temperature**2 / max(len(truth), 1)
        return _log_loss(kind, heated, truth) + pull

    return round(math.exp(golden_section(loss, math.log(SHARPEST), math.log(SOFTEST))), 6)


def _log_loss(kind: TaskKind, logits: np.ndarray, truth: np.ndarray) -> float:
    """Of the mean over members; for tagging summed over tags."""
    if not len(truth):
        return 0.0
    if kind.chooses_class:
        chosen = np.exp(log_softmax(logits)[:, np.arange(len(truth)), truth]).mean(axis=0)
        return float(-np.log(np.maximum(chosen, LEAST_PROBABILITY)).mean())
    right = sigmoid(logits * (2 * truth - 1)).mean(axis=0)
    return float(-np.log(np.maximum(right, LEAST_PROBABILITY)).sum(axis=1).mean())


def golden_section(function: Callable[[float], float], low: float, high: float, *, steps: int = 40) -> float:
    """Where a function with one valley is least, to (high - low) / 1.6**steps.

    Example:
        >>> round(golden_section(lambda x: (x - 2) ** 2, 0, 10), 6)
        2.0
    """
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(steps):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def _slopes(kind: TaskKind, logs: np.ndarray, truth: np.ndarray, prior: _Prior) -> np.ndarray:
    """(K,) weights from (K, E, N, C): each member's rows count as rows of one fit."""
    start, pull = prior.weights, prior.pull
    if len(logs) == 1:
        return start
    members, rows, width = logs.shape[1:]
    flat = logs.reshape(len(logs), members * rows, width)
    repeated = np.concatenate([truth] * members)
    data = _classes_loss(flat, repeated) if kind.chooses_class else _tags_loss(flat, repeated)

    def loss(slopes: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, gradient, hessian = data(slopes)
        gap = slopes - start
        return value + 0.5 * pull * float(gap @ gap), gradient + pull * gap, hessian + pull * np.eye(len(gap))

    slopes = projected_newton(loss, start)
    return slopes / slopes.sum() if slopes.sum() > LEAST_WEIGHT else start


def _classes_loss(logs: np.ndarray, truth: np.ndarray) -> Loss:
    index = np.arange(len(truth))
    chosen = logs[:, index, truth]

    def loss(slopes: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        log_probabilities = log_softmax(np.tensordot(slopes, logs, axes=1))
        weighted = logs * np.exp(log_probabilities)
        means = weighted.sum(axis=2)
        hessian = weighted.reshape(len(logs), -1) @ logs.reshape(len(logs), -1).T - means @ means.T
        value = float(-log_probabilities[index, truth].mean())
        return value, (means - chosen).mean(axis=1), hessian / len(truth)

    return loss


def _tags_loss(logits: np.ndarray, truth: np.ndarray) -> Loss:
    flat, label = logits.reshape(len(logits), -1), truth.ravel().astype(np.float64)

    def loss(slopes: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        pooled = slopes @ flat
        probability = sigmoid(pooled)
        value = float((np.logaddexp(0.0, pooled) - label * pooled).sum()) / len(truth)
        hessian = (flat * (probability * (1 - probability))) @ flat.T / len(truth)
        return value, flat @ (probability - label) / len(truth), hessian

    return loss


def _simplex_weights(values: np.ndarray, label: np.ndarray, prior: _Prior, *, steps: int = 500) -> np.ndarray:
    """(K,) non-negative weights with sum 1 of least squared error of `weights @ values`, pulled towards the prior.

    Projected gradient on the K x K Gram matrix; the step is one over its largest eigenvalue.
    """
    start = prior.weights
    # The pull is in units of the best head's error, as the slopes' is in units of the log loss
    noise = float(((values - label) ** 2).mean(axis=1).min()) * prior.pull
    gram = values @ values.T / len(label) + noise * np.eye(len(values))
    aim = values @ label / len(label) + noise * start
    rate = 1.0 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12)
    weights = start
    for _ in range(steps):
        weights = _onto_simplex(weights - rate * (gram @ weights - aim))
    return weights


def _onto_simplex(point: np.ndarray) -> np.ndarray:
    """The nearest point with non-negative entries of sum 1 (Duchi et al. 2008)."""
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - 1.0) / np.arange(1, len(point) + 1)
    return np.asarray(np.maximum(point - excess[np.flatnonzero(falling > excess)[-1]], 0.0))
