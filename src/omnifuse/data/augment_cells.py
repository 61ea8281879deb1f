"""Random loss and jitter of words and table cells. Shapes: L ids, R rows, N numbers, K categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.data.augment_limits import check_limits
from omnifuse.data.categories import MISSING_LEVEL
from omnifuse.data.place import EARTH_KM
from omnifuse.data.tags import UNKNOWN_TAG
from omnifuse.data.text import MASK_ID


@dataclass(frozen=True)
class TextAugment:
    """Hide words behind the mask token, so that no single word decides.

    Args:
        dropout: Share of tokens hidden, each on its own. 0.08 keeps the meaning of nearly all short texts.
        span: Share of texts that lose one run of tokens besides.
        span_length: Longest run, in tokens, and never more than a third of the text.

    References: Joshi et al. 2020, SpanBERT (runs); Wei and Zou 2019, EDA (random deletion, here without deletion:
        lengths stay).
    """

    dropout: float = 0.08
    span: float = 0.3
    span_length: int = 4

    def __post_init__(self) -> None:
        check_limits(self, dropout=(0, 1), span=(0, 1), span_length=(1, 10_000))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``ids`` int32 (sum L,); every text keeps at least one of its tokens."""
        ids = values["ids"]
        if not ids.size:
            return values
        count = len(lengths)
        starts = np.cumsum(lengths) - lengths
        place = np.arange(len(ids)) - np.repeat(starts, lengths)
        longest = np.minimum(self.span_length, lengths // 3)
        run = (rng.random(count) * (longest + 1)).astype(np.int64) * (rng.random(count) < self.span)
        first = (rng.random(count) * (lengths - run + 1)).astype(np.int64)
        first, behind = np.repeat(first, lengths), np.repeat(first + run, lengths)
        hidden = (rng.random(len(ids)) < self.dropout) | ((place >= first) & (place < behind))
        spared = starts + (rng.random(count) * lengths).astype(np.int64)
        hidden[spared[lengths > 0]] = False
        return {**values, "ids": np.where(hidden, np.int32(MASK_ID), ids)}


@dataclass(frozen=True)
class TagsAugment:
    """Take tags for unknown ones, so that no single tag decides.

    Args:
        dropout: Share of tags; every set keeps at least one of its own.
    """

    dropout: float = 0.08

    def __post_init__(self) -> None:
        check_limits(self, dropout=(0, 1))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``tags`` int32 (sum L,)."""
        tags = values["tags"]
        hidden = rng.random(len(tags)) < self.dropout
        spared = np.cumsum(lengths) - lengths + (rng.random(len(lengths)) * lengths).astype(np.int64)
        hidden[spared[lengths > 0]] = False
        return {**values, "tags": np.where(hidden, np.int32(UNKNOWN_TAG), tags)}


@dataclass(frozen=True)
class PlaceAugment:
    """Shake places, so that no single address is learnt by heart.

    Args:
        jitter_km: Standard deviation in kilometres, to the north and to the east.
    """

    jitter_km: float = 0.0

    def __post_init__(self) -> None:
        check_limits(self, jitter_km=(0, 20_000))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``degrees`` float64 (P, 2); nothing crosses a pole."""
        degrees = values["degrees"]
        steps = rng.standard_normal(degrees.shape) * self.jitter_km * 180 / (np.pi * EARTH_KM)
        latitude = np.clip(degrees[:, 0] + steps[:, 0], -90, 90)
        # Meridians lie closer together towards the poles
        narrow = np.maximum(np.cos(np.radians(degrees[:, 0])), 0.01)
        longitude = np.mod(degrees[:, 1] + steps[:, 1] / narrow + 180, 360) - 180
        return {**values, "degrees": np.stack([latitude, longitude], axis=1)}


@dataclass(frozen=True)
class TableAugment:
    """Lose cells and shake numbers, so that no single column decides and the model learns to do without.

    Args:
        dropout: Share of cells that go missing; every row keeps at least one cell that it had.
        jitter: Standard deviation added to numbers, in their scaled units (about one deviation of the column).
            0.03 is below what most measurements repeat to.
    """

    dropout: float = 0.05
    jitter: float = 0.03

    def __post_init__(self) -> None:
        check_limits(self, dropout=(0, 1), jitter=(0, 10))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``numbers`` (R, N), ``categories`` (R, K) and ``missing`` (R, N + K)."""
        numbers, levels, missing = values["numbers"], values["categories"], values["missing"]
        if not missing.size:
            return values
        num_numbers = numbers.shape[1]
        lost = (rng.random(missing.shape) < self.dropout) & ~missing
        # Of the cells that a row has, a random one stays
        spared = np.where(missing, -1.0, rng.random(missing.shape)).argmax(axis=1)
        lost[np.arange(len(lost)), spared] = False
        missing = missing | lost
        shaken = numbers + rng.standard_normal(numbers.shape, dtype=np.float32) * np.float32(self.jitter)
        return {
            **values,
            "numbers": np.where(missing[:, :num_numbers], np.float32(0), shaken),
            "categories": np.where(lost[:, num_numbers:], np.int32(MISSING_LEVEL), levels),
            "missing": missing,
        }
