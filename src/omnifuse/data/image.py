"""Decoded pictures to one size: aspect kept, antialiased, uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from omnifuse.errors import InputError, MediaError, did_you_mean

FITS = ("pad", "crop", "stretch")
# A picture a little smaller than the frame is padded, not enlarged: enlarging by less than this only blurs it.
_LEAST_ENLARGEMENT = 1.25
_LARGEST_SIDE = 4096


@dataclass(frozen=True)
class ImagePreprocessor:
    """Bring a decoded picture to `height` x `width`.

    Args:
        height: Pixels of the result.
        width: Pixels of the result.
        fit: "pad" shows the whole picture on a ground of its mean border colour (the default: nothing is lost),
            "crop" fills the frame from the middle (photographs whose subject is central), "stretch" ignores the
            aspect.
    """

    height: int
    width: int
    fit_mode: str = "pad"

    kind: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        if self.fit_mode not in FITS:
            raise InputError(f"Unknown fit '{self.fit_mode}' of pictures", fix=did_you_mean(self.fit_mode, FITS))
        if not (1 <= self.height <= _LARGEST_SIDE and 1 <= self.width <= _LARGEST_SIDE):
            raise InputError(
                f"height and width of pictures must be 1 to {_LARGEST_SIDE}, received {self.height} and {self.width}"
            )

    @classmethod
    def fit(
        cls,
        sizes: Sequence[tuple[int, int]],
        *,
        largest: int = 64,
        height: int | None = None,
        width: int | None = None,
        fit: str = "pad",
    ) -> ImagePreprocessor:
        """Choose the size from the pictures' own sizes.

        Args:
            sizes: (height, width) of some training pictures; may be empty.
            largest: Upper limit of the longer side, in pixels.
            height: Overrides the choice.
            width: Overrides the choice.
            fit: "pad", "crop" or "stretch".

        Returns:
            The preprocessor.

        Raises:
            InputError: A size or `fit` is not possible.
        """
        chosen = suggest_image_size(sizes, largest=largest)
        return cls(chosen[0] if height is None else int(height), chosen[1] if width is None else int(width), fit)

    def __call__(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """Resize one decoded picture.

        Args:
            value: uint8 (H, W, 3), H and W at least 1.

        Returns:
            ``pixels`` uint8 (1, height, width, 3).

        Raises:
            MediaError: The array is not a picture.
        """
        pixels = np.asarray(value)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise MediaError(
                f"The picture is an array of {pixels.dtype} {pixels.shape}, expected uint8 (height, width, 3) with at "
                "least one pixel"
            )
        if self.fit_mode == "stretch":
            framed = _resize(pixels, self.height, self.width)
        elif self.fit_mode == "crop":
            framed = self._cropped(pixels)
        else:
            framed = self._padded(pixels)
        return {"pixels": framed[None]}

    def _cropped(self, pixels: np.ndarray) -> np.ndarray:
        """The largest middle part of the wanted aspect, resized."""
        height, width = pixels.shape[:2]
        scale = max(self.height / height, self.width / width)
        part_height = min(height, max(1, round(self.height / scale)))
        part_width = min(width, max(1, round(self.width / scale)))
        top, left = (height - part_height) // 2, (width - part_width) // 2
        part = pixels[top : top + part_height, left : left + part_width]
        return _resize(part, self.height, self.width)

    def _padded(self, pixels: np.ndarray) -> np.ndarray:
        """The whole picture in the middle of a ground of its mean border colour."""
        height, width = pixels.shape[:2]
        scale = min(self.height / height, self.width / width)
        if 1 < scale < _LEAST_ENLARGEMENT:
            scale = 1.0
        inner_height = min(self.height, max(1, round(height * scale)))
        inner_width = min(self.width, max(1, round(width * scale)))
        inner = _resize(pixels, inner_height, inner_width)
        if inner.shape == (self.height, self.width, 3):
            return inner
        framed = np.empty((self.height, self.width, 3), dtype=np.uint8)
        framed[:] = border_colour(inner)
        top, left = (self.height - inner_height) // 2, (self.width - inner_width) // 2
        framed[top : top + inner_height, left : left + inner_width] = inner
        return framed

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"pixels": np.zeros((0, self.height, self.width, 3), np.uint8)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "height": self.height, "width": self.width, "fit": self.fit_mode}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ImagePreprocessor:
        """Inverse of `to_json`."""
        return cls(int(data["height"]), int(data["width"]), str(data["fit"]))


def suggest_image_size(sizes: Sequence[tuple[int, int]], *, largest: int) -> tuple[int, int]:
    """A size near the median picture that patches and strides divide.

    Args:
        sizes: (height, width) of some pictures; empty gives a square of `largest`.
        largest: Upper limit of the longer side, in pixels, at least 16.

    Returns:
        (height, width): multiples of 8 (of 16 from 64 on), at least 16, square where the median aspect is nearly so.

    Raises:
        InputError: `largest` is below 16.

    Example:
        >>> suggest_image_size([(28, 28)] * 3, largest=64)
        (32, 32)
        >>> suggest_image_size([(480, 640)], largest=96)
        (80, 96)
    """
    if largest < 16:
        raise InputError(f"The largest side of pictures must be at least 16, received {largest}")
    if not sizes:
        return _rounded(largest, largest), _rounded(largest, largest)
    measured = np.asarray(sizes, dtype=np.float64)
    aspect = float(np.median(measured[:, 0] / measured[:, 1]))
    longer = min(float(np.median(measured.max(axis=1))), float(largest))
    if 0.8 <= aspect <= 1.25:
        return _rounded(longer, largest), _rounded(longer, largest)
    shorter = longer * min(aspect, 1 / aspect)
    long_side, short_side = _rounded(longer, largest), _rounded(shorter, largest)
    return (long_side, short_side) if aspect > 1 else (short_side, long_side)


def border_colour(pixels: np.ndarray) -> np.ndarray:
    """Mean colour of the outermost pixels of (H, W, 3), as uint8 (3,)."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(border.mean(axis=0) + 0.5).astype(np.uint8)


def _rounded(side: float, largest: int) -> int:
    """Up to a multiple of 8 below 64 (nothing is lost), to the nearest multiple of 16 from there on."""
    size = int(-(-side // 8) * 8) if side < 64 else int(side / 16 + 0.5) * 16
    return max(16, min(size, largest // 8 * 8))


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Antialiased bilinear resizing; a copy of (H, W, 3) where the size is right already."""
    if pixels.shape[:2] == (height, width):
        return np.array(pixels, copy=True)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    # reducing_gap halves large pictures by whole factors first: three times as quick, differences below 1 / 255
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)).copy()
