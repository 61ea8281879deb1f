"""Number cells: reading what people write, robust scaling, and quantile edges for piecewise-linear embeddings."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from omnifuse.errors import InputError, did_you_mean

TRANSFORMS = ("robust", "quantile")
CLIP = 8.0
_LONGEST_TEXT = 64
_LARGEST = 1e100
_CURRENCIES = "$\u20ac\u00a3\u00a5"
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?")
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_DOT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d*")
_SPACE_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([ \u00a0\u202f'\u2019]\d{3})+([.,]\d*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
# Interquartile range of the normal distribution: dividing by it makes one unit about one standard deviation.
_NORMAL_IQR = 1.349


def parse_number(cell: Any) -> float:
    """The number in a cell.

    Read are numbers of Python and numpy, and texts such as "3", " 1e-3 ", "1,234.5", "1.234,5", "1 234,5", "0,5",
    "12%" (0.12), "$5", "-$5", "(12)" (-12). One group of three digits behind a comma is thousands: "1,234" is 1234,
    but "0,123" is 0.123.

    Returns:
        A finite number, or NaN for anything else ("inf", "nan", "12 kg", ""). Never raises.

    Example:
        >>> parse_number("1,234.5"), parse_number("12%"), parse_number("n/a")
        (1234.5, 0.12, nan)
    """
    if isinstance(cell, str):
        return _parse_text(cell)
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _parse_text(cell: str) -> float:
    # Cut after the blanks are gone: what stands behind many of them counts too
    text = cell.strip()
    if not text or len(text) > _LONGEST_TEXT:
        return math.nan
    factor = 1.0
    text = text.replace("\u2212", "-")
    if not _PLAIN.fullmatch(text):
        if text[0] == "(" and text[-1] == ")":
            # A sign inside would be turned round: "(-5)" is not 5
            text, factor = "" if text[1:2] in ("+", "-") else text[1:-1].strip(), -1.0
        if text.endswith("%"):
            text, factor = text[:-1].rstrip(), factor / 100
        sign = text[0] if text[:1] in ("+", "-") else ""
        text = _plain_digits(sign + text[len(sign) :].strip(_CURRENCIES + " "))
    if not _PLAIN.fullmatch(text):
        return math.nan
    number = float(text) * factor
    # 12 * 0.01 is 0.12 to the last bit only after rounding to 15 digits
    number = number if factor in (1.0, -1.0) else float(f"{number:.15g}")
    return number if math.isfinite(number) else math.nan


def _plain_digits(text: str) -> str:
    """Take out the marks between thousands and turn a decimal comma into a point."""
    if _SPACE_GROUPS.fullmatch(text):
        text = re.sub("[ \u00a0\u202f'\u2019]", "", text)
    if _COMMA_GROUPS.fullmatch(text):
        return text.replace(",", "")
    if _DOT_GROUPS.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    if _DECIMAL_COMMA.fullmatch(text):
        return text.replace(",", ".")
    return text


def parse_numbers(cells: Sequence[Any]) -> np.ndarray:
    """Numbers of many cells, float64 (R,), NaN where missing or unreadable; quick where all are numbers."""
    try:
        values = np.array(cells, dtype=np.float64) if not any(isinstance(cell, str) for cell in cells) else None
    except (TypeError, ValueError, OverflowError):
        values = None
    if values is None or values.shape != (len(cells),):
        values = np.fromiter((parse_number(cell) for cell in cells), dtype=np.float64, count=len(cells))
    values[~np.isfinite(values)] = np.nan
    # Differences of numbers near the end of the range would overflow
    return np.clip(values, -_LARGEST, _LARGEST)


@dataclass(frozen=True)
class NumberColumn:
    """How one number column is scaled.

    Args:
        name: The column.
        median: Goes to 0; missing cells do too.
        scale: Width of one unit, about a standard deviation of the middle half.
        edges: Quantiles of the scaled training values, strictly increasing, at least 2: the ends of up to 64 bins.
        transform: "robust" is linear with a soft limit; "quantile" maps the training distribution to a normal one
            (heavy tails such as prices and counts).
        knots: For "quantile", quantiles of the raw training values.
        num_unreadable: Training cells that held something other than a number.
    """

    name: str
    median: float
    scale: float
    edges: tuple[float, ...]
    transform: str = "robust"
    knots: tuple[float, ...] = ()
    num_unreadable: int = 0

    @classmethod
    def fit(cls, name: str, cells: Sequence[Any], *, num_bins: int = 64, transform: str = "robust") -> NumberColumn:
        """Learn the scale of a column from training cells; None is a missing cell.

        Args:
            name: The column.
            cells: Training cells.
            num_bins: Number of bins between `edges`; ties give fewer.
            transform: "robust" or "quantile".

        Raises:
            InputError: Unknown transform or `num_bins` below 1.
        """
        if transform not in TRANSFORMS:
            raise InputError(f"Unknown transform '{transform}' of numbers", fix=did_you_mean(transform, TRANSFORMS))
        if num_bins < 1:
            raise InputError(f"num_bins must be at least 1, received {num_bins}")
        values = parse_numbers(cells)
        unreadable = int(np.isnan(values).sum()) - sum(cell is None or _is_nan(cell) for cell in cells)
        known = values[~np.isnan(values)]
        if not known.size:
            return cls(name, 0.0, 1.0, (0.0, 1.0), num_unreadable=unreadable)
        median = float(np.median(known))
        knots: tuple[float, ...] = ()
        if transform == "quantile":
            # Numpy interpolates between neighbours that are equal with an error of one unit in the last place
            knots = tuple(np.maximum.accumulate(np.quantile(known, np.linspace(0, 1, 129))).tolist())
        column = cls(name, median, robust_scale(known, median), (0.0, 1.0), transform, knots, unreadable)
        edges = np.unique(np.quantile(column.scaled(known), np.linspace(0, 1, num_bins + 1)).astype(np.float32))
        found = tuple(edges.tolist()) if len(edges) > 1 else (float(edges[0]), float(edges[0]) + 1.0)
        return cls(name, median, column.scale, found, transform, knots, unreadable)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Scale raw values.

        Args:
            values: float64, any shape; NaN = missing.

        Returns:
            float32 of the same shape, within [-8, 8], order kept, 0 where missing.
        """
        if self.transform == "quantile" and self.knots:
            positions, normal = self._normal_knots
            units = np.interp(values, positions, normal)
        else:
            with np.errstate(over="ignore"):
                units = (values - self.median) / self.scale
        return np.asarray(np.nan_to_num(soft_limit(units), nan=0.0), dtype=np.float32)

    @cached_property
    def _normal_knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct knots and the normal quantile of their mean rank."""
        knots = np.asarray(self.knots)
        ranks = np.clip(np.linspace(0, 1, len(knots)), 1e-3, 1 - 1e-3)
        distinct, index = np.unique(knots, return_inverse=True)
        mean_ranks = np.bincount(index, weights=ranks) / np.bincount(index)
        normal = NormalDist()
        return distinct, np.array([normal.inv_cdf(float(rank)) for rank in mean_ranks])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "median": self.median,
            "scale": self.scale,
            "edges": list(self.edges),
            "transform": self.transform,
            "knots": list(self.knots),
            "unreadable": self.num_unreadable,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NumberColumn:
        """Inverse of `to_json`."""
        return cls(
            str(data["name"]),
            float(data["median"]),
            float(data["scale"]),
            tuple(float(edge) for edge in data["edges"]),
            str(data["transform"]),
            tuple(float(knot) for knot in data["knots"]),
            int(data["unreadable"]),
        )


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def robust_scale(known: np.ndarray, median: float) -> float:
    """Interquartile range over 1.349; where half of the values are equal a wider range, at last 1."""
    for share in (0.25, 0.1, 0.02, 0.0):
        low, high = np.quantile(known, [share, 1 - share])
        normal = _NORMAL_IQR if share == 0.25 else 2.0 * NormalDist().inv_cdf(1 - max(share, 0.01))
        with np.errstate(over="ignore"):
            width = float(high / normal - low / normal)
        # A range within rounding of the median would blow noise up
        if math.isfinite(width) and width > 1e-9 * max(abs(median), 1e-30):
            return width
    return 1.0


def soft_limit(units: np.ndarray) -> np.ndarray:
    """Identity up to half of the limit, then bent smoothly so that +-8 is never passed."""
    half = CLIP / 2
    size = np.abs(units)
    bent = np.sign(units) * (half + half * np.tanh((size - half) / half))
    return np.where(size <= half, units, bent)
