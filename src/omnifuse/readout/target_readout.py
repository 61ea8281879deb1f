"""From a network's outputs to calibrated probabilities or values of one target.

The fused head and the auxiliary heads of the present inputs are combined with weights that were fitted, for each
subset of inputs, on rows which the network had not learnt from; a temperature for each subset then makes confidences
true. Members of an ensemble are averaged at last.

References: Guo et al. 2017, On Calibration of Modern Neural Networks (temperature); Genest and Zidek 1986 (logarithmic
opinion pools).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    """Weights of the heads ("fused" and input names) and temperature for one subset of present inputs."""

    weights: Mapping[str, float] = field(default_factory=lambda: {FUSED: 1.0})
    temperature: float = 1.0


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
    """

    target: Target
    inputs: tuple[str, ...]
    subsets: Mapping[str, SubsetCalibration] = field(default_factory=dict)
    threshold: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    prior: tuple[float, ...] = ()

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
        fused = raw.fused[self.target.name].astype(np.float64)
        heads = {name: v.astype(np.float64) for name, v in raw.fields.get(self.target.name, {}).items()}
        result = np.zeros(fused.shape[1:])
        present = np.stack([raw.present[name] for name in self.inputs], axis=1)
        for pattern in np.unique(present, axis=0):
            rows = np.flatnonzero((present == pattern).all(axis=1))
            names = tuple(name for name, there in zip(self.inputs, pattern, strict=True) if there)
            if not names:
                result[rows] = self._nothing(fused.shape[2])
                continue
            chosen = {name: v[:, rows] for name, v in heads.items() if name in names or name not in self.inputs}
            result[rows] = self._combine(fused[:, rows], chosen, self.calibration(names))
        return result[:, 0] if self.target.kind is TaskKind.REGRESSION else result

    def _nothing(self, width: int) -> np.ndarray:
        if self.target.kind is TaskKind.REGRESSION:
            return np.full(width, self.mean)
        return np.asarray(self.prior) if self.prior else np.full(width, 1.0 / width)

    def _combine(self, fused: np.ndarray, heads: dict[str, np.ndarray], by: SubsetCalibration) -> np.ndarray:
        """(B, C) from (E, B, C) of each head."""
        return combine(self.target.kind, {FUSED: fused, **heads}, by) * self.scale + self.mean

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "target": self.target.to_json(),
            "inputs": list(self.inputs),
            "subsets": {
                name: {"weights": dict(item.weights), "temperature": item.temperature}
                for name, item in self.subsets.items()
            },
            "threshold": self.threshold,
            "mean": self.mean,
            "scale": self.scale,
            "prior": list(self.prior),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TargetReadout:
        """Inverse of `to_json`."""
        subsets = {
            str(name): SubsetCalibration(
                {str(head): float(weight) for head, weight in item["weights"].items()}, float(item["temperature"])
            )
            for name, item in data["subsets"].items()
        }
        return cls(
            Target.from_json(data["target"]),
            tuple(data["inputs"]),
            subsets,
            float(data["threshold"]),
            float(data["mean"]),
            float(data["scale"]),
            tuple(float(share) for share in data["prior"]),
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
