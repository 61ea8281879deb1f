"""How far a number's interval reaches: wide where the network expects to be off, or where its heads disagree.

The half-width of a row is a width times powers of signs of doubt: the spread that the network expects, that of the
forest's leaves, and how far the heads lie apart. The powers were found on rows which the networks had not learnt from,
and the width makes the intervals hold the promised share of these rows.

References: Lei et al. 2018, Distribution-Free Predictive Inference for Regression, section 5.2 (locally weighted split
conformal prediction).

Shapes: E members, B rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Of a spread in standardised units: what lies outside says no more
LEAST_SPREAD, MOST_SPREAD = 0.02, 20.0
APART = "apart"


@dataclass(frozen=True)
class SpreadCalibration:
    """The width (standardised units) that keeps the promise, and sign of doubt to its power; others do not count."""

    width: float
    powers: Mapping[str, float] = field(default_factory=dict)

    def half_widths(self, signs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(B,) in standardised units from signs (B,), see `doubt`."""
        # In one order, whatever that of the file it was read from: a sum's last digit depends on it
        logs = [power * signs[name] for name, power in sorted(self.powers.items()) if name in signs]
        return np.asarray(self.width * np.exp(np.sum([np.zeros_like(next(iter(signs.values()))), *logs], axis=0)))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"width": self.width, "powers": dict(self.powers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SpreadCalibration:
        """Inverse of `to_json`."""
        return cls(float(data["width"]), {str(name): float(power) for name, power in data["powers"].items()})


def doubt(
    heads: Mapping[str, np.ndarray], weights: Mapping[str, float], spreads: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The signs of doubt.

    Args:
        heads: Head name to (E, B, 1) standardised values.
        weights: Weights of the heads; those without one are not asked.
        spreads: Head to the error (E, B) that it expects.

    Returns:
        Sign to (B,) logarithms: for each head that expects an error its mean over members, and under "apart" the heads'
        weighted deviation from their mean, mean over members.
    """
    known = {name: weights[name] for name in heads if weights.get(name, 0.0) > 0.0}
    found = {name: np.asarray(spread, np.float64).mean(axis=0) for name, spread in spreads.items()}
    found[APART] = np.zeros(next(iter(heads.values())).shape[1])
    if len(known) > 1:
        share = np.array(list(known.values())) / sum(known.values())
        values = np.stack([heads[name][..., 0] for name in known])
        mean = np.tensordot(share, values, axes=1)
        found[APART] = np.sqrt(np.tensordot(share, (values - mean) ** 2, axes=1)).mean(axis=0)
    return {name: np.log(np.clip(values, LEAST_SPREAD, MOST_SPREAD)) for name, values in found.items()}
