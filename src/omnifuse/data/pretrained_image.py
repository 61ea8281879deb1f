"""Pictures as a pretrained backbone was taught to see them: resized, cut and normalised as its files say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from omnifuse.data.backbone import Backbone
from omnifuse.errors import InputError, MediaError

_LARGEST_SIDE = 4096
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@dataclass(frozen=True)
class Framing:
    """From a picture of any size to that of the backbone, step by step as the library does it.

    Args:
        resize: (height, width) to stretch to; (S,) for S pixels of the shorter side with the aspect kept; () for none.
        crop: (height, width) of the middle part that is cut out, with black around it where it is larger; () for none.
        filter: Of the resizing, a number in `FILTERS`.
        factor: Pixels are multiplied by it, 0 for none ...
        mean: ... then this is subtracted, a number a channel ...
        std: ... and the rest divided by this.
    """

    resize: tuple[int, ...]
    crop: tuple[int, ...]
    filter: int
    factor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        sides = (*self.resize, *self.crop)
        if (
            len(self.resize) > 2
            or len(self.crop) not in (0, 2)
            or not all(1 <= side <= _LARGEST_SIDE for side in sides)
        ):
            raise InputError(f"pictures cannot be resized to {self.resize} and cut to {self.crop}")
        if self.filter not in FILTERS or not self.factor > 0 or not all(math.isfinite(x) and x > 0 for x in self.std):
            raise InputError("filter, factor or deviation of the pictures' preprocessing is out of range")
        if not self.crop and len(self.resize) != 2:
            raise InputError("pictures would have no fixed size: neither a crop nor a height and width is named")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        height, width = self.crop or self.resize
        return height, width

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) to uint8 (height, width, 3)."""
        if self.resize:
            height, width = self._resized(pixels.shape[0], pixels.shape[1])
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            pixels = np.asarray(picture.resize((width, height), Image.Resampling(self.filter)))
        return _centre(pixels, *self.crop) if self.crop else np.array(pixels, copy=True)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if len(self.resize) == 2:
            return self.resize[0], self.resize[1]
        side, short, long = self.resize[0], min(height, width), max(height, width)
        # A strip of a picture would else become millions of pixels that the crop throws away
        longer = min(int(side * long / short), 16 * _LARGEST_SIDE)
        return (longer, side) if width <= height else (side, longer)

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """What the backbone reads of uint8 (..., 3): float32 of the same shape."""
        scaled = pixels.astype(np.float32) * np.float32(self.factor)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.asarray((scaled - mean) / std, np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "resize": list(self.resize),
            "crop": list(self.crop),
            "filter": self.filter,
            "factor": self.factor,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Framing:
        """Inverse of `to_json`."""
        return cls(
            tuple(int(side) for side in data["resize"]),
            tuple(int(side) for side in data["crop"]),
            int(data["filter"]),
            float(data["factor"]),
            _three(data["mean"]),
            _three(data["std"]),
        )


def _three(values: Sequence[Any]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle (height, width) of (H, W, 3), black where the picture does not reach."""
    found = np.zeros((height, width, 3), np.uint8)
    (top, left), (start, begin) = [0, 0], [0, 0]
    for axis, wanted in enumerate((height, width)):
        have = pixels.shape[axis]
        # As the library: what is cut off is rounded down before, what is added is rounded up before
        offset = (have - wanted) // 2 if have >= wanted else 0
        padding = 0 if have >= wanted else -((have - wanted) // 2)
        if axis == 0:
            top, start = offset, padding
        else:
            left, begin = offset, padding
    part = pixels[top : top + height, left : left + width]
    found[start : start + part.shape[0], begin : begin + part.shape[1]] = part
    return found


def checked_pixels(value: Any) -> np.ndarray:
    """The array if it is a picture.

    Raises:
        MediaError: It is none.
    """
    pixels = np.asarray(value)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise MediaError(
            f"The picture is an array of {pixels.dtype} {pixels.shape}, expected uint8 (height, width, 3) with at "
            "least one pixel"
        )
    return pixels


@dataclass(frozen=True)
class PretrainedImage:
    """Bring a decoded picture to the frame of a backbone; it is normalised in the encoder.

    Args:
        backbone: What reads it.
        framing: How.
    """

    backbone: Backbone
    framing: Framing

    kind: ClassVar[str] = "image"
    stored_kind: ClassVar[str] = "pretrained-image"

    @property
    def augmented(self) -> bool:
        """Whether pictures are changed in training: not where their features are kept."""
        return not self.backbone.is_frozen

    @property
    def height(self) -> int:
        """Pixels of the result."""
        return self.framing.size[0]

    @property
    def width(self) -> int:
        """Pixels of the result."""
        return self.framing.size[1]

    def __call__(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (H, W, 3) to ``pixels`` uint8 (1, height, width, 3).

        Raises:
            MediaError: The array is not a picture.
        """
        return {"pixels": self.framing(checked_pixels(value))[None]}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"pixels": np.zeros((0, self.height, self.width, 3), np.uint8)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.stored_kind, "backbone": self.backbone.to_json(), "framing": self.framing.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PretrainedImage:
        """Inverse of `to_json`."""
        return cls(Backbone.from_json(data["backbone"]), Framing.from_json(data["framing"]))
