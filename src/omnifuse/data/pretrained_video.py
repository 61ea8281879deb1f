"""Videos as a pretrained backbone was taught to see them: a fixed number of frames, each framed as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.backbone import Backbone
from omnifuse.data.pretrained_image import Framing, checked_pixels
from omnifuse.errors import InputError, MediaError


@dataclass(frozen=True)
class PretrainedVideo:
    """Frames of a clip to the number and the frame of a backbone.

    Args:
        backbone: What reads them.
        framing: Of each frame.
        num_frames: So many are always given; of a clip with fewer, some come several times.
        max_seconds: Longer videos are cut behind this.
    """

    backbone: Backbone
    framing: Framing
    num_frames: int = 16
    max_seconds: float = 60.0

    kind: ClassVar[str] = "video"
    stored_kind: ClassVar[str] = "pretrained-video"

    def __post_init__(self) -> None:
        for name, low, high in (("num_frames", 1, 128), ("max_seconds", 0.01, 3600.0)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} of videos must be {low} to {high}, received {getattr(self, name)}")

    @property
    def augmented(self) -> bool:
        """Whether frames are changed in training: not where their features are kept."""
        return False

    @property
    def height(self) -> int:
        """Pixels of the result."""
        return self.framing.size[0]

    @property
    def width(self) -> int:
        """Pixels of the result."""
        return self.framing.size[1]

    def __call__(self, value: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        """Frames uint8 (F, H, W, 3) with their seconds (F,) to num_frames of them.

        Returns:
            ``pixels`` uint8 (num_frames, height, width, 3) and ``time_s`` float32 (num_frames,).

        Raises:
            MediaError: The arrays are no clip.
        """
        pixels = np.asarray(value[0])
        if pixels.ndim != 4 or not len(pixels) or np.shape(value[1]) != pixels.shape[:1]:
            raise MediaError(f"The video is an array of {pixels.dtype} {pixels.shape}, expected uint8 frames")
        places = np.linspace(0, len(pixels) - 1, self.num_frames).round().astype(np.int64)
        framed = {place: self.framing(checked_pixels(pixels[place])) for place in sorted(set(places.tolist()))}
        times = np.nan_to_num(np.asarray(value[1], np.float32), posinf=0.0, neginf=0.0)
        return {"pixels": np.stack([framed[place] for place in places.tolist()]), "time_s": times[places]}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"pixels": np.zeros((0, self.height, self.width, 3), np.uint8), "time_s": np.zeros(0, np.float32)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.stored_kind,
            "backbone": self.backbone.to_json(),
            "framing": self.framing.to_json(),
            "num_frames": self.num_frames,
            "max_seconds": self.max_seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PretrainedVideo:
        """Inverse of `to_json`."""
        return cls(
            Backbone.from_json(data["backbone"]),
            Framing.from_json(data["framing"]),
            int(data["num_frames"]),
            float(data["max_seconds"]),
        )
