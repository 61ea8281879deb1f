"""Hide large parts of a medium, to be told from the rest. Shapes: P rows, F frames, H, W pixels, C channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.data.augment_limits import check_limits

# Cells down and across a picture, and stretches of a sound or series, of which some are hidden
_CELLS, _STRETCHES = 5, 12


@dataclass(frozen=True)
class MaskAugment:
    """Hide cells of pictures (the same ones in all frames of a clip), and stretches of sounds and series.

    Args:
        share: Of what is hidden; something is always left.

    References: He et al. 2022, Masked Autoencoders (arXiv:2111.06377); Baevski et al. 2022, data2vec, section 3.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        check_limits(self, share=(0, 1))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Hide parts of ``pixels``, of ``log_mel`` or, with ``observed``, of ``values``."""
        lengths = np.asarray(lengths, np.int64)
        if "pixels" in values and values["pixels"].size:
            return {**values, "pixels": self._pictures(values["pixels"], lengths, rng)}
        if "log_mel" in values and values["log_mel"].size:
            sound = values["log_mel"]
            hidden = self._stretches(lengths, rng)
            starts = np.cumsum(lengths) - lengths
            means = np.add.reduceat(sound, starts, axis=0) / lengths[:, None]
            level = np.repeat(means, lengths, axis=0).astype(sound.dtype)
            return {**values, "log_mel": np.where(hidden[:, None], level, sound)}
        if "observed" in values and values["observed"].size:
            left = values["observed"] & ~self._stretches(lengths, rng)[:, None]
            # A series of which nothing observed would be left stays as it is
            starts = np.cumsum(lengths) - lengths
            some = np.logical_or.reduceat(left.any(axis=1), starts)
            left = np.where(np.repeat(some, lengths)[:, None], left, values["observed"])
            return {**values, "observed": left, "values": np.where(left, values["values"], np.float32(0))}
        return values

    def _drawn(self, count: int, parts: int, rng: np.random.Generator) -> np.ndarray:
        """(P, parts) bool, hidden; of each row at least one part is left."""
        draws = rng.random((count, parts))
        hidden = draws < self.share
        hidden[np.arange(count), draws.argmax(axis=1)] = False
        return hidden

    def _stretches(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(sum F,) bool of rows cut into equal stretches; a row of one frame keeps it."""
        hidden = self._drawn(len(lengths), _STRETCHES, rng)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found = hidden[rows, place * _STRETCHES // np.maximum(lengths[rows], 1)]
        gone = np.logical_and.reduceat(found, np.cumsum(lengths) - lengths) if len(lengths) else np.zeros(0, bool)
        return np.asarray(found & ~gone[rows])

    def _pictures(self, pixels: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        hidden = self._drawn(len(lengths), _CELLS * _CELLS, rng).reshape(-1, _CELLS, _CELLS)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        height, width = pixels.shape[1:3]
        down, across = np.arange(height) * _CELLS // height, np.arange(width) * _CELLS // width
        where = hidden[owners][:, down][:, :, across]
        colours = pixels.mean(axis=(1, 2), keepdims=True).astype(pixels.dtype)
        return np.where(where[..., None], colours, pixels)
