"""Frames of a video on a clock to one size, with their times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.image import ImagePreprocessor
from omnifuse.errors import InputError, MediaError

MOST_FRAMES = 128
_LONGEST_S = 3600.0


@dataclass(frozen=True)
class VideoPreprocessor:
    """Bring the frames of a clip to `height` x `width` and keep when each is shown.

    Args:
        height: Pixels of the result.
        width: Pixels of the result.
        num_frames: Most frames that are taken of a video, evenly spaced in time.
        max_seconds: Longer videos are cut behind this.
        fit_mode: "pad", "crop" or "stretch", as of pictures.
    """

    height: int
    width: int
    num_frames: int = 8
    max_seconds: float = 60.0
    fit_mode: str = "pad"

    kind: ClassVar[str] = "video"

    def __post_init__(self) -> None:
        _ = self.picture
        for name, low, high in (("num_frames", 1, MOST_FRAMES), ("max_seconds", 0.01, _LONGEST_S)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} of videos must be {low} to {high}, received {getattr(self, name)}")

    @classmethod
    def fit(
        cls,
        sizes: Sequence[tuple[int, int]],
        durations: Sequence[float] = (),
        *,
        largest: int = 64,
        num_frames: int = 8,
        max_seconds: float = 60.0,
        height: int | None = None,
        width: int | None = None,
        fit: str = "pad",
    ) -> VideoPreprocessor:
        """Choose the size and the part that is read from the videos' own sizes and durations.

        Args:
            sizes: (height, width) of some training videos; may be empty.
            durations: Their seconds, 0 where unknown. Twice the longest is read of any video, so that an unusually
                long one shows its frames at a pace that was learnt from.
            largest: Upper limit of the longer side, in pixels.
            num_frames: Most frames of a video.
            max_seconds: Upper limit of the part that is read.
            height: Overrides the choice.
            width: Overrides the choice.
            fit: "pad", "crop" or "stretch".

        Returns:
            The preprocessor.

        Raises:
            InputError: A size, a number or `fit` is not possible.
        """
        picture = ImagePreprocessor.fit(sizes, largest=largest, height=height, width=width, fit=fit)
        known = [second for second in durations if 0 < second < math.inf]
        longest = min(max_seconds, max(1.0, math.ceil(2 * max(known)))) if known else max_seconds
        return cls(picture.height, picture.width, int(num_frames), float(longest), fit)

    @property
    def picture(self) -> ImagePreprocessor:
        """What brings one frame to its size."""
        return ImagePreprocessor(self.height, self.width, self.fit_mode)

    def __call__(self, value: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        """Resize the frames of one clip.

        Args:
            value: uint8 (F, H, W, 3) with F, H and W at least 1, and their seconds (F,).

        Returns:
            ``pixels`` uint8 (F, height, width, 3) and ``time_s`` float32 (F,).

        Raises:
            MediaError: The arrays are no clip.
        """
        pixels, times = np.asarray(value[0]), np.asarray(value[1], dtype=np.float32)
        if pixels.ndim != 4 or not len(pixels) or times.shape != pixels.shape[:1]:
            raise MediaError(
                f"The video is an array of {pixels.dtype} {pixels.shape} with times {times.shape}, expected uint8 "
                "(frames, height, width, 3) with a time each"
            )
        picture = self.picture
        framed = [picture(frame)["pixels"] for frame in pixels]
        return {"pixels": np.concatenate(framed), "time_s": np.nan_to_num(times, posinf=0.0, neginf=0.0)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"pixels": np.zeros((0, self.height, self.width, 3), np.uint8), "time_s": np.zeros(0, np.float32)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "height": self.height,
            "width": self.width,
            "num_frames": self.num_frames,
            "max_seconds": self.max_seconds,
            "fit": self.fit_mode,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> VideoPreprocessor:
        """Inverse of `to_json`."""
        return cls(
            int(data["height"]),
            int(data["width"]),
            int(data["num_frames"]),
            float(data["max_seconds"]),
            str(data["fit"]),
        )
