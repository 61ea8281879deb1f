"""From a network's outputs to calibrated probabilities or values of one target.

The fused head and the auxiliary heads of the present inputs are combined with weights that were fitted, for each
subset of inputs, on rows which the network had not learnt from; a temperature for each subset then makes confidences
true. Members of an ensemble are averaged at last.

References: Guo et al. 2017, On Calibration of Modern Neural Networks (temperature); Genest and Zidek 1986 (logarithmic
opinion pools).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from omnifuse.readout.decision import choose_classes
from omnifuse.readout.interval import SpreadCalibration, doubt
from omnifuse.readout.raw import RawOutputs
from omnifuse.schema import Target, TaskKind

FUSED = "fused"
SHARPEST, SOFTEST = 0.05, 20.0


def shallow_head(name: str) -> str:
    """`(forest)`: a shallow head reads whichever fields are there; brackets keep it apart from names of columns."""
    return f"({name})"


def subset_name(names: Iterable[str]) -> str:
    """`image+audio`: the name of a subset of inputs, in the order given."""
    return "+".join(names)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


@dataclass(frozen=True)
class SubsetCalibration:
    """Weights of the heads ("fused" and input names) for one subset of present inputs, and how sure their answer is.

    Attributes:
        weights: Head to weight.
        temperature: For classes and tags.
        interval: For numbers; None where too few rows could tell.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {FUSED: 1.0})
    temperature: float = 1.0
    interval: SpreadCalibration | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        data: dict[str, Any] = {"weights": dict(self.weights), "temperature": self.temperature}
        return data if self.interval is None else data | {"interval": self.interval.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SubsetCalibration:
        """Inverse of `to_json`."""
        weights = {str(head): float(weight) for head, weight in data["weights"].items()}
        interval = SpreadCalibration.from_json(data["interval"]) if "interval" in data else None
        return cls(weights, float(data["temperature"]), interval)


@dataclass(frozen=True)
class TargetReadout:
    """Calibration of one target.

    Attributes:
        target: What is answered.
        inputs: The model's inputs in order; subsets are named in this order.
        subsets: Subset name to its calibration; an unknown subset takes that of the largest known part of it.
        threshold: Confidence below which an answer abstains.
        mean: For regression, what was subtracted from the label.
        scale: For regression, what the label was divided by.
        prior: Class shares (or tag shares) of the training rows.
        level: For regression, the share of intervals that shall hold the truth.
        prior_width: For regression, the half-width of the interval of a row without any input, in the label's units.
        tilt: For classification, how much rare classes count beyond their probability, see `readout.decision`.
    """

    target: Target
    inputs: tuple[str, ...]
    subsets: Mapping[str, SubsetCalibration] = field(default_factory=dict)
    threshold: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    prior: tuple[float, ...] = ()
    level: float = 0.9
    prior_width: float | None = None
    tilt: float = 0.0

    def calibration(self, names: tuple[str, ...]) -> SubsetCalibration:
        """The calibration for a subset of inputs."""
        exact = self.subsets.get(subset_name(names))
        if exact is not None:
            return exact
        parts = [key for key in self.subsets if set(key.split("+")) <= set(names)]
        if parts:
            return self.subsets[max(parts, key=lambda key: (key.count("+"), key))]
        return SubsetCalibration()

    def heads(self, present: np.ndarray) -> set[str]:
        """The heads that count for rows with these inputs, (B, M) bool in the order of `inputs`."""
        found = {FUSED}
        for pattern in np.unique(present, axis=0):
            names = tuple(name for name, there in zip(self.inputs, pattern, strict=True) if there)
            found |= {head for head, weight in self.calibration(names).weights.items() if weight > 0}
        return found

    def scores(self, raw: RawOutputs) -> np.ndarray:
        """Calibrated answers.

        Args:
            raw: Outputs of B rows.

        Returns:
            Classification, ordinal and tagging: (B, C) probabilities. Regression: (B,) in the label's units. A row
            without any present input gets the prior (the mean).
        """
        width = raw.fused[self.target.name].shape[2]
        result = np.zeros((raw.num_rows, width))
        for rows, names, heads in self._by_subset(raw):
            if names:
                result[rows] = combine(self.target.kind, heads, self.calibration(names)) * self.scale + self.mean
            else:
                result[rows] = self._nothing(width)
        return result[:, 0] if self.target.kind is TaskKind.REGRESSION else result

    def choose(self, scores: np.ndarray) -> np.ndarray:
        """(B,) numbers of the classes that are answered, from the (B, C) of `scores`."""
        return choose_classes(scores, np.asarray(self.prior), self.tilt)

    def intervals(self, raw: RawOutputs) -> np.ndarray:
        """For regression, (B, 2) lowest and highest value; NaN where no calibration row told how wide to make it."""
        assert self.target.kind is TaskKind.REGRESSION, f"{self.target.name} is no number"
        result = np.full((raw.num_rows, 2), np.nan)
        spreads = raw.spreads.get(self.target.name, {})
        for rows, names, heads in self._by_subset(raw):
            by = self.calibration(names)
            if not names:
                middle, half = np.full(len(rows), self.mean), np.full(len(rows), np.nan)
                half[:] = np.nan if self.prior_width is None else self.prior_width
            elif by.interval is not None:
                middle = combine(self.target.kind, heads, by)[:, 0] * self.scale + self.mean
                signs = doubt(heads, by.weights, {name: v[:, rows] for name, v in spreads.items()})
                half = by.interval.half_widths(signs) * self.scale
            else:
                continue
            result[rows] = np.stack([middle - half, middle + half], axis=1)
        return result

    def _by_subset(self, raw: RawOutputs) -> Iterator[tuple[np.ndarray, tuple[str, ...], dict[str, np.ndarray]]]:
        """Rows with the same inputs: numbers, inputs, and head to (E, rows, C) of the heads that can answer."""
        fused = raw.fused[self.target.name].astype(np.float64)
        heads = {name: v.astype(np.float64) for name, v in raw.fields.get(self.target.name, {}).items()}
        present = np.stack([raw.present[name] for name in self.inputs], axis=1)
        for pattern in np.unique(present, axis=0):
            rows = np.flatnonzero((present == pattern).all(axis=1))
            names = tuple(name for name, there in zip(self.inputs, pattern, strict=True) if there)
            chosen = {name: v[:, rows] for name, v in heads.items() if name in names or name not in self.inputs}
            yield rows, names, {FUSED: fused[:, rows], **chosen}

    def _nothing(self, width: int) -> np.ndarray:
        if self.target.kind is TaskKind.REGRESSION:
            return np.full(width, self.mean)
        return np.asarray(self.prior) if self.prior else np.full(width, 1.0 / width)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "target": self.target.to_json(),
            "inputs": list(self.inputs),
            "subsets": {name: item.to_json() for name, item in self.subsets.items()},
            "threshold": self.threshold,
            "mean": self.mean,
            "scale": self.scale,
            "prior": list(self.prior),
            "level": self.level,
            "prior_width": self.prior_width,
            "tilt": self.tilt,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TargetReadout:
        """Inverse of `to_json`."""
        subsets = {str(name): SubsetCalibration.from_json(item) for name, item in data["subsets"].items()}
        width = data.get("prior_width")
        return cls(
            Target.from_json(data["target"]),
            tuple(data["inputs"]),
            subsets,
            float(data["threshold"]),
            float(data["mean"]),
            float(data["scale"]),
            tuple(float(share) for share in data["prior"]),
            float(data.get("level", 0.9)),
            None if width is None else float(width),
            float(data.get("tilt", 0.0)),
        )


def combine(kind: TaskKind, heads: Mapping[str, np.ndarray], by: SubsetCalibration) -> np.ndarray:
    """Combine heads and members.

    Args:
        kind: Classification and ordinal pool log-probabilities, tagging logits, regression values.
        heads: Head name to (E, B, C).
        by: Weights (heads without one add nothing) and temperature.

    Returns:
        (B, C) probabilities, or standardised values.
    """
    known = {name: by.weights[name] for name in heads if by.weights.get(name, 0.0) > 0.0}
    if not known:
        known = {FUSED: 1.0}
    if kind is TaskKind.REGRESSION:
        total = sum(known.values())
        mean = sum(weight * heads[name] for name, weight in known.items()) / total
        return np.asarray(np.asarray(mean).mean(axis=0))
    as_logs = log_softmax if kind.chooses_class else np.asarray
    pooled = sum(weight * as_logs(heads[name]) for name, weight in known.items())
    heated = np.asarray(pooled) / by.temperature
    answers = np.exp(log_softmax(heated)) if kind.chooses_class else sigmoid(heated)
    return np.asarray(answers.mean(axis=0))
