"""Random changes of sensor series that leave their meaning. Shapes: F steps, C channels, P series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.data.augment_limits import check_limits


@dataclass(frozen=True)
class SeriesAugment:
    """What may happen to a series; amounts are drawn for each series anew.

    Args:
        jitter: Standard deviation added to each value, in scaled units (about one deviation of the channel). 0.03 is
            below what most sensors repeat to.
        scaling: Standard deviation of a factor of each channel about 1, as of another sensor of the same kind.
        warp: Share of series of which one window runs quicker or slower.
        warp_factor: Largest factor of the time steps in that window; the smallest is its inverse.
        gaps: Share of series that lose a run of steps.
        gap: Longest run, as a share of the steps. Every series keeps something that was observed.

    References: Um et al. 2017, Data Augmentation of Wearable Sensor Data (jitter, scaling, time warping); Le Guennec
        et al. 2016 (window warping, here of the times, so that lengths stay).
    """

    jitter: float = 0.03
    scaling: float = 0.05
    warp: float = 0.3
    warp_factor: float = 1.5
    gaps: float = 0.3
    gap: float = 0.2

    def __post_init__(self) -> None:
        check_limits(self, jitter=(0, 10), scaling=(0, 3), warp=(0, 1), warp_factor=(1, 10), gaps=(0, 1), gap=(0, 1))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``values`` (sum F, C), ``time_s`` (sum F,) and ``observed`` (sum F, C)."""
        if not values["values"].size:
            return values
        lengths = np.asarray(lengths, np.int64)
        starts = np.cumsum(lengths) - lengths
        place = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
        observed = self._with_gaps(values["observed"], place, lengths, rng)
        factor = 1 + self.scaling * rng.standard_normal((len(lengths), observed.shape[1]), dtype=np.float32)
        shaken = values["values"] * np.repeat(np.maximum(factor, 0.1), lengths, axis=0)
        shaken += np.float32(self.jitter) * rng.standard_normal(shaken.shape, dtype=np.float32)
        return {
            **values,
            "values": np.where(observed, shaken, np.float32(0)),
            "time_s": self._warped(values["time_s"], place, lengths, rng),
            "observed": observed,
        }

    def _with_gaps(
        self, observed: np.ndarray, place: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        count = len(lengths)
        run = (rng.random(count) * (self.gap * lengths + 1)).astype(np.int64) * (rng.random(count) < self.gaps)
        first = (rng.random(count) * (lengths - run + 1)).astype(np.int64)
        lost = (place >= np.repeat(first, lengths)) & (place < np.repeat(first + run, lengths))
        left = observed & ~lost[:, None]
        starts = np.cumsum(lengths) - lengths
        filled = np.flatnonzero(lengths)
        empty = np.zeros(count, bool)
        empty[filled] = ~np.logical_or.reduceat(left.any(axis=1), starts[filled])
        return np.asarray(np.where(np.repeat(empty, lengths)[:, None], observed, left))

    def _warped(
        self, time_s: np.ndarray, place: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Steps of one window of some series times a factor; the time of the last step stays."""
        count = len(lengths)
        chosen = rng.random(count) < self.warp
        ends = np.sort(rng.random((count, 2)), axis=1) * lengths[:, None]
        inside = (place >= np.repeat(ends[:, 0], lengths)) & (place < np.repeat(ends[:, 1], lengths))
        factor = self.warp_factor ** rng.uniform(-1, 1, count)
        inside &= np.repeat(chosen, lengths)
        # Step k is the time from k to k + 1; the last step of a series leads nowhere
        step = np.diff(time_s, append=time_s[-1:]).astype(np.float64)
        step[np.cumsum(lengths)[lengths > 0] - 1] = 0.0
        added = np.where(inside, step * (np.repeat(factor, lengths) - 1), 0.0)
        # What is added from a step to the end of its series moves it back
        total = np.cumsum(added[::-1])[::-1]
        behind = np.append(total, 0.0)[np.repeat(np.cumsum(lengths), lengths)]
        return np.asarray(time_s - (total - behind), np.float32)
