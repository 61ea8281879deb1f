"""Random changes of pictures that leave their meaning. Shapes: P pictures, H W height and width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnifuse.data.augment_limits import check_limits
from omnifuse.data.augment_warp import affine_warp, parts, recolour, sharpen

RAND_OPS = (
    "rotate",
    "shear_columns",
    "shear_rows",
    "shift_columns",
    "shift_rows",
    "brightness",
    "contrast",
    "posterize",
    "solarize",
    "sharpness",
)
# Strongest change of each operation of `rand`, at magnitude 1 (Cubuk et al. 2020, appendix A.2, halved for rotation
# and shear: digits and letters become others when they are turned far)
_RAND_LIMITS = {
    "rotate": 15.0,
    "shear_columns": 0.2,
    "shear_rows": 0.2,
    "shift_columns": 0.3,
    "shift_rows": 0.3,
    "brightness": 0.4,
    "contrast": 0.6,
    "posterize": 5.0,
    "solarize": 1.0,
    "sharpness": 1.8,
}
_SATURATED_SHARE = 0.3


@dataclass(frozen=True)
class ImageAugment:
    """What may happen to a picture; every amount is drawn evenly between its limits, for each picture anew.

    The frames of a row that has several are changed alike.

    The defaults suit small training sets of any kind of picture. They do not mirror: digits, text and medical pictures
    are not symmetric.

    Args:
        shift: Largest shift, as a share of the side. 0.08 is what a hand-held frame or a digit's box varies by.
        zoom: Least and largest enlargement.
        rotate: Largest turn in degrees; 8 is how far a level camera or a writer's hand strays.
        flip: Whether half of the pictures are mirrored, left to right.
        warped: Share of pictures that are shifted, zoomed and turned at all; the others keep every pixel sharp.
        colour: Strength of brightness (half of it, added), contrast and, for 3 in 10 pictures, saturation (factors).
        erase: Share of pictures that lose a rectangle of 2 to 20% of their area to their mean colour.
        rand: So many operations of `RAND_OPS` besides, drawn anew for each picture.
        magnitude: Strength of these, 0 to 1.

    References: Cubuk et al. 2020, RandAugment (without equalize, invert and autocontrast; shifts, turns and shears
        are joined into one warp and come first); Zhong et al. 2020, Random Erasing.
    """

    shift: float = 0.08
    zoom: tuple[float, float] = (0.9, 1.1)
    rotate: float = 8.0
    flip: bool = False
    warped: float = 0.75
    colour: float = 0.2
    erase: float = 0.15
    rand: int = 0
    magnitude: float = 0.4

    def __post_init__(self) -> None:
        check_limits(self, shift=(0, 1), rotate=(0, 180), warped=(0, 1), colour=(0, 1), erase=(0, 1))
        check_limits(self, zoom=(0.1, 10), rand=(0, len(RAND_OPS)), magnitude=(0, 1))

    def __call__(
        self, values: dict[str, np.ndarray], lengths: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Augment ``pixels`` uint8 (P, H, W, 3), concatenated from rows of `lengths` frames, usually 1."""
        pixels = values["pixels"]
        if not pixels.size:
            return values
        # Row that each picture is of: amounts are drawn for rows
        owners = np.repeat(np.arange(len(lengths)), np.asarray(lengths, np.int64))
        chosen = {name: amounts[owners] for name, amounts in self._drawn_ops(len(lengths), rng).items()}
        pixels = self._warped(pixels, owners, chosen, rng)
        pixels = self._recoloured(pixels, owners, chosen, rng)
        pixels = _posterized(pixels, chosen["posterize"])
        pixels = _solarized(pixels, chosen["solarize"])
        sharper = np.flatnonzero(chosen["sharpness"])
        if len(sharper):
            pixels[sharper] = sharpen(pixels[sharper], chosen["sharpness"][sharper])
        self._erase(pixels, owners, rng)
        return {**values, "pixels": pixels}

    def _drawn_ops(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """(P,) signed amount of each operation of `RAND_OPS`, 0 where it was not drawn."""
        if not self.rand:
            return dict.fromkeys(RAND_OPS, np.zeros(count))
        order = rng.random((count, len(RAND_OPS))).argsort(axis=1)
        drawn = order.argsort(axis=1) < self.rand
        amounts = drawn * self.magnitude * rng.uniform(-1, 1, drawn.shape)
        return {name: amounts[:, index] * _RAND_LIMITS[name] for index, name in enumerate(RAND_OPS)}

    def _warped(
        self, pixels: np.ndarray, owners: np.ndarray, chosen: dict[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """A fresh array, warped where it was drawn."""
        (num_pictures, height, width), count = pixels.shape[:3], int(owners[-1]) + 1
        often = rng.random(count) < self.warped
        turn = np.deg2rad((often * rng.uniform(-self.rotate, self.rotate, count))[owners] + chosen["rotate"])
        zoom = np.exp(often * rng.uniform(np.log(self.zoom[0]), np.log(self.zoom[1]), count))[owners]
        shift = (often * rng.uniform(-self.shift, self.shift, (2, count)))[:, owners]
        mirrored = ((rng.random(count) < 0.5) & self.flip)[owners]
        shear = np.tile(np.eye(2), (num_pictures, 1, 1))
        shear[:, 0, 1], shear[:, 1, 0] = chosen["shear_columns"], chosen["shear_rows"]
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
        matrix = matrix @ shear / zoom[:, None, None]
        matrix[:, 0] *= np.where(mirrored, -1.0, 1.0)[:, None]
        moved = np.stack([(shift[0] + chosen["shift_columns"]) * width, (shift[1] + chosen["shift_rows"]) * height], 1)
        centre = np.array([width - 1, height - 1]) / 2
        maps = np.concatenate([matrix, (centre + moved - matrix @ centre)[:, :, None]], axis=2)
        result = pixels.copy()
        changed = np.flatnonzero((maps != np.eye(2, 3)).any(axis=(1, 2)))
        for part in parts(changed, pixels):
            result[part] = affine_warp(pixels[part], maps[part])
        return result

    def _recoloured(
        self, pixels: np.ndarray, owners: np.ndarray, chosen: dict[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        count = int(owners[-1]) + 1
        if not self.colour and not self.rand:
            return pixels
        amounts = rng.uniform(-self.colour, self.colour, (3, count))
        amounts[2] *= rng.random(count) < _SATURATED_SHARE
        amounts = amounts[:, owners]
        saturation = 1 + amounts[2]
        brightness = amounts[0] / 2 + chosen["brightness"]
        contrast = 1 + amounts[1] + chosen["contrast"]
        # Saturation costs as much as all else: only the pictures that need it go through it
        for group in (np.flatnonzero(saturation == 1), np.flatnonzero(saturation != 1)):
            for part in parts(group, pixels):
                pixels[part] = recolour(
                    pixels[part], brightness=brightness[part], contrast=contrast[part], saturation=saturation[part]
                )
        return pixels

    def _erase(self, pixels: np.ndarray, owners: np.ndarray, rng: np.random.Generator) -> None:
        (height, width), count = pixels.shape[1:3], int(owners[-1]) + 1
        picked = rng.random(count) < self.erase
        area = rng.uniform(0.02, 0.2, count) * height * width
        aspect = np.exp(rng.uniform(np.log(0.4), np.log(2.5), count))
        rows = np.clip(np.sqrt(area * aspect), 1, height).astype(int)
        columns = np.clip(np.sqrt(area / aspect), 1, width).astype(int)
        tops = (rng.random(count) * (height - rows + 1)).astype(int)
        lefts = (rng.random(count) * (width - columns + 1)).astype(int)
        step = max(1, min(height, width) // 16)
        for index in np.flatnonzero(picked[owners]):
            owner = owners[index]
            top, left = tops[owner], lefts[owner]
            colour = pixels[index, ::step, ::step].reshape(-1, 3).mean(axis=0) + 0.5
            pixels[index, top : top + rows[owner], left : left + columns[owner]] = colour.astype(np.uint8)


def _posterized(pixels: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Drop so many lower bits."""
    bits = np.rint(np.abs(amounts)).astype(np.uint8)
    if bits.any():
        pixels &= (np.uint8(255) << bits)[:, None, None, None]
    return pixels


def _solarized(pixels: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Invert what is brighter than a threshold; the stronger, the lower the threshold."""
    picked = np.flatnonzero(amounts)
    if len(picked):
        limit = (255 * (1 - np.abs(amounts[picked])))[:, None, None, None]
        part = pixels[picked]
        pixels[picked] = np.where(part > limit, 255 - part, part)
    return pixels
