"""Sensor series to scaled values, what was observed, and when. Shapes: F steps, C channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.decoded import UNREAD, DecodedMedium
from omnifuse.data.media_series import RawSeries, object_series
from omnifuse.data.numbers import robust_scale, soft_limit
from omnifuse.data.series_order import ordered_steps, thinned_steps
from omnifuse.errors import InputError, MediaError

DEFAULT_STEPS = 512
# Beyond any time that a sensor counts; float32 holds it
_LONGEST_S = 1e12


@dataclass(frozen=True)
class SeriesPreprocessor:
    """Scale the channels of a series, keep its gaps, and say when each step was.

    Times are counted back from the end: what a sensor says is judged by how long ago it was, and a window that was cut
    at its start still has its latest step at the same place.

    Args:
        channels: Their names, or "channel 1" and so on where the series have none.
        medians: Median of each channel: becomes 0.
        scales: Width of one unit of each channel, about a standard deviation of the middle half.
        named: Whether channels are told by their names; else by their order.
        step_s: Usual time between two steps, in seconds.
        max_steps: Longer series become means over so many equal stretches of time.
    """

    channels: tuple[str, ...]
    medians: tuple[float, ...]
    scales: tuple[float, ...]
    named: bool = False
    step_s: float = 1.0
    max_steps: int = DEFAULT_STEPS

    kind: ClassVar[str] = "series"

    def __post_init__(self) -> None:
        if not 2 <= self.max_steps <= 65_536:
            raise InputError(f"max_steps must be 2 to 65536, received {self.max_steps}")
        if not len(self.channels) == len(self.medians) == len(self.scales) or not self.channels:
            raise InputError(
                f"{len(self.channels)} channels have {len(self.medians)} medians, {len(self.scales)} scales"
            )
        if not all(scale > 0 for scale in (*self.scales, self.step_s)):
            raise InputError("scales and step of a series must be above 0")

    @classmethod
    def fit(cls, series: Iterable[RawSeries], *, max_steps: int = DEFAULT_STEPS) -> SeriesPreprocessor:
        """Learn channels, scales and the usual step.

        Args:
            series: Some training series; may be empty.
            max_steps: See the class.

        Returns:
            The fitted preprocessor.
        """
        known = list(series)
        names = _names(known)
        width = _usual_width(known)
        channels = names or tuple(f"channel {number + 1}" for number in range(width))
        empty = cls(channels, (0.0,) * len(channels), (1.0,) * len(channels), bool(names), 1.0, max_steps)
        parts, steps = [], []
        for raw in known:
            try:
                values, times, _ = ordered_steps(raw)
                parts.append(empty.aligned(values, raw.channels)[0])
            except MediaError:
                continue
            steps.append(np.diff(times))
        if not parts:
            return empty
        medians, scales = zip(*(_scale(column) for column in np.concatenate(parts).T), strict=True)
        gaps = np.concatenate(steps)
        step_s = float(np.median(gaps)) if len(gaps) else 1.0
        return cls(channels, medians, scales, bool(names), max(step_s, 1e-9), max_steps)

    @property
    def num_channels(self) -> int:
        """C."""
        return len(self.channels)

    @cached_property
    def _units(self) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.medians), np.asarray(self.scales)

    def __call__(self, value: Any) -> DecodedMedium:
        """Arrays of one series.

        Args:
            value: As the media door gives it; arrays, lists and dicts are read too.

        Returns:
            ``values`` float32 (F, C) within [-8, 8], 0 where not observed; ``time_s`` float32 (F,), seconds before the
            end, <= 0; ``observed`` bool (F, C); 1 <= F <= `max_steps`. With remarks on what was sorted, merged, left
            out, or looks wrong.

        Raises:
            MediaError: Its channels are others, or nothing was observed in them.
        """
        raw = value if isinstance(value, RawSeries) else object_series(value)
        values, times, remarks = ordered_steps(raw)
        values, left_out = self.aligned(values, raw.channels)
        if left_out:
            remarks.append((UNREAD, f"channels that the model does not know are left out: {', '.join(left_out[:6])}"))
        values, times = thinned_steps(values, times, self.max_steps)
        observed = ~np.isnan(values)
        if not observed.any():
            raise MediaError("Nothing was observed in the channels of the series", fix="Leave the cell empty")
        medians, scales = self._units
        with np.errstate(over="ignore"):
            units = soft_limit((values - medians) / scales)
        return DecodedMedium(
            {
                "values": np.where(observed, units, 0.0).astype(np.float32),
                "time_s": np.maximum(times, -_LONGEST_S).astype(np.float32),
                "observed": observed,
            },
            remarks,
        )

    def aligned(self, values: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """The columns of the known channels, in their order, NaN where one is absent; and names that are not known."""
        if self.named and names:
            places = {name: place for place, name in enumerate(names)}
            found = [name for name in self.channels if name in places]
            if not found:
                raise MediaError(
                    f"The series has the channels {', '.join(names[:6])}, expected {', '.join(self.channels[:6])}"
                )
            if tuple(names) == self.channels:
                return values, []
            result = np.full((len(values), self.num_channels), np.nan)
            for place, name in enumerate(self.channels):
                if name in places:
                    result[:, place] = values[:, places[name]]
            return result, [name for name in names if name not in self.channels]
        if values.shape[1] != self.num_channels:
            raise MediaError(f"The series has {values.shape[1]} channels, expected {self.num_channels}")
        return values, []

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        shape = (0, self.num_channels)
        return {
            "values": np.zeros(shape, np.float32),
            "time_s": np.zeros(0, np.float32),
            "observed": np.zeros(shape, bool),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "channels": list(self.channels),
            "medians": list(self.medians),
            "scales": list(self.scales),
            "named": self.named,
            "step_s": self.step_s,
            "max_steps": self.max_steps,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SeriesPreprocessor:
        """Inverse of `to_json`."""
        return cls(
            tuple(str(name) for name in data["channels"]),
            tuple(float(value) for value in data["medians"]),
            tuple(float(value) for value in data["scales"]),
            bool(data["named"]),
            float(data["step_s"]),
            int(data["max_steps"]),
        )


def _scale(column: np.ndarray) -> tuple[float, float]:
    known = column[~np.isnan(column)]
    if not len(known):
        return 0.0, 1.0
    median = float(np.median(known))
    return median, robust_scale(known, median)


def _names(series: Sequence[RawSeries]) -> tuple[str, ...]:
    """Channel names in the order in which they come, where most series have names."""
    if 2 * sum(bool(raw.channels) for raw in series) <= len(series):
        return ()
    return tuple(dict.fromkeys(name for raw in series for name in raw.channels))


def _usual_width(series: Sequence[RawSeries]) -> int:
    counts = Counter(raw.values.shape[1] for raw in series)
    return counts.most_common(1)[0][0] if counts else 1
