"""Place cells to latitude and longitude: decimal degrees, minutes and seconds, well-known text, objects."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.numbers import parse_number
from omnifuse.errors import InputError

_LONGEST_TEXT = 96
_LATITUDE_NAMES = ("lat", "latitude")
_LONGITUDE_NAMES = ("lon", "lng", "long", "longitude")
_WELL_KNOWN = re.compile(r"POINT\s{0,2}\(\s{0,2}([-+\d.eE]{1,24})\s{1,3}([-+\d.eE]{1,24})\s{0,2}\)", re.IGNORECASE)
_ANGLE = re.compile(
    r"(?P<first>[NSEW])?\s?(?P<sign>[-+\u2212])?(?P<degrees>\d{1,3}(?:\.\d{1,15})?)\s?(?:\u00b0|\u00ba|deg)?\s?"
    r"(?:(?P<minutes>\d{1,2}(?:\.\d{1,12})?)\s?['\u2032\u2019]\s?)?"
    r"(?:(?P<seconds>\d{1,2}(?:\.\d{1,9})?)\s?(?:\"|\u2033|\u201d|'')\s?)?(?P<last>[NSEW])?",
    re.IGNORECASE,
)
# Where one angle may end, in the order of trust
_BETWEEN = (re.compile(r"[,;]"), re.compile(r"\s"), re.compile(r"(?<=[NSEW])", re.IGNORECASE))
_COLUMN = re.compile(r"(?:(?P<prefix>.{1,60}?)[_\s.-])?(?P<angle>latitude|lat|longitude|long|lng|lon)", re.IGNORECASE)
_FIX = "Write latitude, then longitude in degrees, for instance 52.52, 13.405"


def parse_place(cell: Any) -> tuple[float, float]:
    """Latitude and longitude in degrees of a cell.

    Read are pairs (latitude, longitude) as tuple, list, array, or text such as "52.52, 13.405", "52.52;13.405",
    "52.52N 13.405E", "52 deg 31' 12\" N, 13 deg 24' 18\" E" (with the degree sign too); mappings with lat/latitude and
    lon/lng/long/longitude; GeoJSON points and well-known text, both of which name the longitude first. Letters N, S, E
    and W decide the order where they are there.

    Returns:
        Latitude within [-90, 90], longitude within [-180, 180); a longitude up to 360 is wrapped.

    Raises:
        InputError: The cell is no place, or outside of these limits.

    Example:
        >>> parse_place("52.52, 13.405"), parse_place("POINT(13.405 52.52)"), parse_place("13.405E 52.52N")
        ((52.52, 13.405), (52.52, 13.405), (52.52, 13.405))
    """
    found = _from_text(cell) if isinstance(cell, str) else _from_object(cell)
    if found is None:
        raise InputError(f"'{str(cell)[:_LONGEST_TEXT]}' is not a place that can be read", fix=_FIX)
    latitude, longitude = found
    if not (abs(latitude) <= 90 and -180 <= longitude <= 360):
        raise InputError(
            f"latitude {latitude:g}, longitude {longitude:g} lies on no globe",
            where="latitudes go from -90 to 90, longitudes from -180 to 180",
            fix=_FIX,
        )
    return latitude, longitude - 360 if longitude >= 180 else longitude


def _from_object(cell: Any) -> tuple[float, float] | None:
    if isinstance(cell, Mapping):
        if cell.get("type") == "Point" and isinstance(cell.get("coordinates"), Sequence | np.ndarray):
            pair = _pair(cell["coordinates"])
            return None if pair is None else (pair[1], pair[0])
        known = {str(name).lower(): value for name, value in cell.items()}
        latitude = next((known[name] for name in _LATITUDE_NAMES if name in known), None)
        longitude = next((known[name] for name in _LONGITUDE_NAMES if name in known), None)
        return _pair((latitude, longitude))
    return _pair(cell) if isinstance(cell, Sequence | np.ndarray) and not isinstance(cell, bytes) else None


def _pair(cell: Any) -> tuple[float, float] | None:
    # A third number is the height
    if len(cell) not in (2, 3):
        return None
    first, second = parse_number(cell[0]), parse_number(cell[1])
    return None if math.isnan(first) or math.isnan(second) else (first, second)


def _from_text(cell: str) -> tuple[float, float] | None:
    text = cell.strip()
    if not text or len(text) > _LONGEST_TEXT:
        return None
    match = _WELL_KNOWN.fullmatch(text)
    if match:
        pair = _pair((match[1], match[2]))
        return None if pair is None else (pair[1], pair[0])
    text = text.strip("()[] ")
    for between in _BETWEEN:
        for match in between.finditer(text):
            halves = text[: match.start()].strip(), text[match.end() :].strip()
            first, second = (_ANGLE.fullmatch(half) for half in halves)
            found = _ordered(first, second) if first and second else None
            if found is not None:
                return found
    return None


def _ordered(first: re.Match[str], second: re.Match[str]) -> tuple[float, float] | None:
    letters = [((part["first"] or "") + (part["last"] or "")).upper() for part in (first, second)]
    if any(len(item) > 1 for item in letters) or bool(letters[0]) != bool(letters[1]):
        return None
    angles = [_degrees(part) for part in (first, second)]
    if any(math.isnan(angle) for angle in angles):
        return None
    if not letters[0]:
        return angles[0], angles[1]
    signed = [-angle if letter in "SW" else angle for angle, letter in zip(angles, letters, strict=True)]
    along = [letter in "NS" for letter in letters]
    if along == [True, False]:
        return signed[0], signed[1]
    return (signed[1], signed[0]) if along == [False, True] else None


def _degrees(part: re.Match[str]) -> float:
    minutes, seconds = float(part["minutes"] or 0), float(part["seconds"] or 0)
    if minutes >= 60 or seconds >= 60:
        return math.nan
    size = float(part["degrees"]) + minutes / 60 + seconds / 3600
    return -size if part["sign"] in ("-", "\u2212") else size


def looks_like_place(cell: Any) -> bool:
    """Whether a cell is a place beyond doubt: two whole numbers in a text may be anything."""
    if not isinstance(cell, str | Mapping):
        return False
    if isinstance(cell, str) and not re.search(r"\d\.\d|[\u00b0\u00baNSEW]|POINT", cell):
        return False
    return _place_or_none(cell) is not None


def place_columns(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Pairs of columns that hold latitude and longitude by their names: (latitude, longitude, what they name).

    Example:
        >>> place_columns(["home_lat", "home_lon", "Latitude", "longitude", "flat"])
        [('home_lat', 'home_lon', 'home'), ('Latitude', 'longitude', 'place')]
    """
    latitudes: dict[str, str] = {}
    longitudes: dict[str, str] = {}
    for name in names:
        match = _COLUMN.fullmatch(name.strip())
        if match:
            is_latitude = match["angle"].lower() in _LATITUDE_NAMES
            (latitudes if is_latitude else longitudes).setdefault((match["prefix"] or "").lower(), name)
    return [(name, longitudes[key], key or "place") for key, name in latitudes.items() if key in longitudes]


def paired(latitudes: Sequence[Any], longitudes: Sequence[Any]) -> list[Any]:
    """Cells of two columns as cells of one: pairs, None where both are missing; half a place is no place."""
    pairs = zip(latitudes, longitudes, strict=True)
    return [None if latitude is None and longitude is None else (latitude, longitude) for latitude, longitude in pairs]


@dataclass(frozen=True)
class PlacePreprocessor:
    """Turn place cells into degrees.

    Args:
        latitude: Median of the training rows, degrees.
        longitude: Middle of the training rows (mean direction), degrees.
        spread_km: Median distance of the training rows from there, kilometres: the scale that matters most.
    """

    latitude: float = 0.0
    longitude: float = 0.0
    spread_km: float = 1000.0

    kind: ClassVar[str] = "place"

    @classmethod
    def fit(cls, cells: Iterable[Any]) -> PlacePreprocessor:
        """Learn middle and spread of the training rows.

        Args:
            cells: Training cells; None and unreadable ones are skipped.
        """
        known = [found for cell in cells if cell is not None and (found := _place_or_none(cell)) is not None]
        if not known:
            return cls()
        places = np.array(known)
        turned = np.radians(places[:, 1])
        middle = (
            float(np.median(places[:, 0])),
            float(np.degrees(np.arctan2(np.sin(turned).mean(), np.cos(turned).mean()))),
        )
        spread = float(np.median(distance_km(places, np.array(middle))))
        return cls(*middle, max(spread, 0.01))

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """Degrees of one cell.

        Args:
            value: A cell, see `parse_place`.

        Returns:
            ``degrees`` float64 (1, 2): latitude and longitude.

        Raises:
            InputError: The cell is not a place.
        """
        return {"degrees": np.array([parse_place(value)], dtype=np.float64)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"degrees": np.zeros((0, 2), np.float64)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "spread_km": self.spread_km,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PlacePreprocessor:
        """Inverse of `to_json`."""
        return cls(float(data["latitude"]), float(data["longitude"]), float(data["spread_km"]))


EARTH_KM = 6371.0088


def distance_km(places: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Great-circle distances in kilometres on a sphere.

    Args:
        places: (N, 2) degrees.
        middle: (2,) degrees.

    Returns:
        (N,).

    References: the haversine formula (Sinnott 1984).
    """
    latitudes, longitudes = np.radians(places).T
    latitude, longitude = np.radians(middle)
    half = (
        np.sin((latitudes - latitude) / 2) ** 2
        + np.cos(latitudes) * np.cos(latitude) * np.sin((longitudes - longitude) / 2) ** 2
    )
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1))))


def _place_or_none(cell: Any) -> tuple[float, float] | None:
    try:
        return parse_place(cell)
    except InputError:
        return None
