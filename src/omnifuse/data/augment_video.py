"""Random changes of clips that leave their meaning. Shapes: P clips, F frames of all clips together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from omnifuse.data.augment_image import ImageAugment
from omnifuse.data.augment_limits import check_limits


@dataclass(frozen=True)
class VideoAugment:
    """Frames that get lost, and changes of the picture that are the same in all frames of a clip.

    A lost frame leaves the one before it on the screen, as in a broken stream; the first frame of a clip stays, and the
    times stay as they are, so that the motion between the frames that are left keeps its pace.

    Args:
        picture: What happens to the frames, drawn once a clip.
        dropout: Share of frames that get lost.
    """

    picture: ImageAugment = field(default_factory=ImageAugment)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_limits(self, dropout=(0, 1))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``pixels`` uint8 (F, H, W, 3) of clips of `lengths` frames."""
        pixels = values["pixels"]
        if not len(pixels):
            return values
        kept = rng.random(len(pixels)) >= self.dropout
        sizes = np.asarray(lengths, np.int64)
        kept[np.cumsum(sizes) - sizes] = True
        # The last kept frame at or before each: as the first of a clip is kept, it is of the same clip
        shown = np.maximum.accumulate(np.where(kept, np.arange(len(pixels)), 0))
        return self.picture({**values, "pixels": pixels[shown]}, lengths, rng)
