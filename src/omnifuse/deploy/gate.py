"""The condition on a score that a version must meet before it is promoted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omnifuse.errors import InputError, did_you_mean

# Target to metric to value, as `Model.evaluate` gives them; None where a metric is not defined
Scores = Mapping[str, Mapping[str, float | None]]
LOWER_IS_BETTER = frozenset({"log_loss", "mean_absolute_error", "root_mean_squared_error"})


@dataclass(frozen=True)
class Gate:
    """What a score must be.

    Attributes:
        metric: A name that `evaluate` gives.
        target: Of which target; None where the model has one.
        at_least: Least value, for metrics of which more is better.
        at_most: Largest value, for metrics of which less is better.
        no_worse: How much worse than the version in production it may be, in units of the metric.
    """

    metric: str
    target: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    no_worse: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        limits = {"--at-least": self.at_least, "--at-most": self.at_most, "--no-worse": self.no_worse}
        given = {name: value for name, value in limits.items() if value is not None}
        if not given:
            raise InputError(
                f"no limit was given for '{self.metric}'", fix="Give --at-least, --at-most or --no-worse with a number"
            )
        wrong = [name for name, value in given.items() if not math.isfinite(value)]
        if wrong or (self.no_worse is not None and self.no_worse < 0):
            name = wrong[0] if wrong else "--no-worse"
            raise InputError(f"{name} is {given[name]}", fix="Give a number; for --no-worse one from 0")
        lower = self.metric in LOWER_IS_BETTER
        if (self.at_least if lower else self.at_most) is not None:
            direction, option = ("lower", "--at-most") if lower else ("higher", "--at-least")
            raise InputError(f"'{self.metric}' is better where it is {direction}", fix=f"Give {option}")

    def judge(self, candidate: Scores, production: Scores | None) -> dict[str, Any]:
        """What was measured, for the history.

        Args:
            candidate: Scores of the version that is to be promoted.
            production: Of the one in production; None where there is none, and then `no_worse` asks for nothing.

        Raises:
            InputError: The gate is not passed, or a score could not be measured.
        """
        target = self._target(candidate)
        value = self._value(candidate, target, "the version")
        record: dict[str, Any] = {"target": target, "metric": self.metric, "value": value}
        limits = [(limit, f"the limit {limit:g}") for limit in (self.at_least, self.at_most) if limit is not None]
        sign = -1.0 if self.metric in LOWER_IS_BETTER else 1.0
        if self.no_worse is not None and production is not None:
            now = self._value(production, target, "the version in production")
            record["production"] = now
            limits.append((now - sign * self.no_worse, f"the {now:.6g} of production by more than {self.no_worse:g}"))
        for limit, words in limits:
            # A limit that was reached by the same arithmetic on both sides is reached
            if sign * (value - limit) < -1e-12 * max(1.0, abs(limit)):
                raise InputError(
                    f"the version is not promoted: its {self.metric} of '{target}' is {value:.6g}, worse than {words}",
                    fix="Train a better one, or change the limit",
                )
        limits_given = {"at_least": self.at_least, "at_most": self.at_most, "no_worse": self.no_worse}
        return record | {name: limit for name, limit in limits_given.items() if limit is not None}

    def _target(self, scores: Scores) -> str:
        if self.target is not None:
            if self.target not in scores:
                raise InputError(f"the model has no target '{self.target}'", fix=did_you_mean(self.target, scores))
            return self.target
        if len(scores) != 1:
            raise InputError(f"the model has {len(scores)} targets", fix=f"Give --target, one of {', '.join(scores)}")
        return next(iter(scores))

    def _value(self, scores: Scores, target: str, whose: str) -> float:
        if target not in scores:
            raise InputError(f"{whose} has no target '{target}'", fix="Give --at-least instead of --no-worse")
        if self.metric not in scores[target]:
            raise InputError(f"'{target}' has no metric '{self.metric}'", fix=did_you_mean(self.metric, scores[target]))
        value = scores[target][self.metric]
        if value is None or not math.isfinite(value):
            raise InputError(
                f"{self.metric} of '{target}' cannot be measured on this table for {whose}",
                fix="Give a larger test table, or another --metric",
            )
        return float(value)
