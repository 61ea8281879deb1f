"""Picture bytes, arrays and PIL objects to uint8 RGB: the magic bytes first, the size before any pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

# The plugins are imported by name: with `formats=` Pillow would else load all of its decoders for the rarer two.
from PIL import Image, ImageFile, TiffImagePlugin, WebPImagePlugin  # noqa: F401

from omnifuse.errors import MediaError

# Sizes of the second header of a BMP: two letters alone would be too little to tell
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FORMATS = "PNG, JPEG, GIF, WebP, BMP or TIFF"
_PNG_END = b"IEND\xaeB`\x82"


def image_format(start: bytes) -> str | None:
    """Pillow's name of the format that the first 32 bytes show; None where it is not on the list."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    if start.startswith(_TIFF_MAGIC):
        return "TIFF"
    if start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return None


def decode_image(
    data: bytes | bytearray,
    *,
    max_pixels: int,
    min_side: int = 0,
    where: str = "",
    remarks: list[str] | None = None,
) -> np.ndarray:
    """Decode the first frame of a picture.

    Args:
        data: Content of the file.
        max_pixels: Larger pictures are refused by their header.
        min_side: JPEGs may be decoded at a half, a quarter or an eighth of their size as long as both sides keep this
            many pixels; 0 decodes the whole.
        where: For error messages.
        remarks: Gets a sentence where pixels were not finite and became 0.

    Returns:
        uint8 (H, W, 3), perhaps read-only; turned as EXIF says, transparent parts on white.

    Raises:
        MediaError: Not a picture of a known format, too large, or damaged.
    """
    kind = image_format(bytes(data[:32]))
    if kind is None:
        raise MediaError(f"The content is not {_FORMATS}", where=where, fix="Convert it to PNG or JPEG")
    if kind == "PNG" and data.rfind(_PNG_END) < 0:
        raise MediaError("The PNG picture ends before its last pixel", where=where, fix="Copy the file again")
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        # Some package switched it on: missing parts would turn grey. Not put back, for other threads decode too
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
            _check_size(picture.size, max_pixels, where)
            if min_side and kind == "JPEG":
                picture.draft(None, (min_side, min_side))
            picture.load()
            _remark_pixels(picture, where, remarks)
            return _upright_rgb(picture)
    except MediaError:
        raise
    except Exception as error:
        raise _explained(kind, error, max_pixels, where) from None


def picture_pixels(picture: Image.Image, *, max_pixels: int, remarks: list[str] | None = None) -> np.ndarray:
    """A PIL image as uint8 (H, W, 3), treated as `decode_image` treats files.

    Raises:
        MediaError: It is too large or cannot be loaded.
    """
    _check_size(picture.size, max_pixels, "")
    try:
        picture.load()
        _remark_pixels(picture, "", remarks)
        return _upright_rgb(picture)
    except MediaError:
        raise
    except Exception as error:
        raise _explained(picture.format or "given", error, max_pixels, "") from None


def array_pixels(array: np.ndarray, *, max_pixels: int) -> np.ndarray:
    """An array as uint8 (H, W, 3).

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the last with transparency, laid on white. bool, integers
            0 to 255, uint16 0 to 65535, or floats 0 to 1.
        max_pixels: Larger ones are refused.

    Raises:
        MediaError: Another shape, type or range.
    """
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        raise MediaError(
            f"The picture is an array of shape {shape}, expected (height, width) or (height, width, 1, 3 or 4)",
            fix="Move the channels to the end: np.moveaxis(array, 0, -1)" if array.ndim == 3 else "",
        )
    _check_size((shape[1], shape[0]), max_pixels, "")
    pixels = _as_bytes(array)
    if pixels.ndim == 2 or shape[2] == 1:
        return np.repeat(pixels.reshape(shape[0], shape[1], 1), 3, axis=2)
    return pixels if shape[2] == 3 else _rgb(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))


def _as_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return _from_16_bit(array)
    if array.dtype.kind not in "fiu":
        raise MediaError(f"The picture is an array of {array.dtype}", fix="Give uint8, or floats 0 to 1")
    low, high, top = float(array.min()), float(array.max()), 1 if array.dtype.kind == "f" else 255
    if not (low >= -1e-6 and high <= top + 1e-6):
        raise MediaError(
            f"The picture is an array of {array.dtype} from {low:.4g} to {high:.4g}, expected 0 to {top}",
            fix="Give uint8, or floats 0 to 1",
        )
    return (array * (255.0 / top) + 0.5).clip(0, 255).astype(np.uint8)


def _check_size(size: tuple[int, int], max_pixels: int, where: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise MediaError(f"The picture has no pixels ({height} x {width})", where=where)
    if width * height > max_pixels:
        raise MediaError(
            f"The picture has {height} x {width} pixels, at most {max_pixels / 1e6:.0f} million are read",
            where=where,
            fix="Make it smaller",
        )


def _explained(kind: str, error: Exception, max_pixels: int, where: str) -> MediaError:
    """The decoder's complaint in our words: its own may hold addresses and paths."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        what = f"The {kind} picture has more pixels than are read, at most {max_pixels / 1e6:.0f} million"
        return MediaError(what, where=where, fix="Make it smaller")
    if isinstance(error, MemoryError):
        return MediaError(f"There is not enough memory for the {kind} picture", where=where, fix="Make it smaller")
    if "truncated" in str(error).lower():
        return MediaError(f"The {kind} picture ends before its last pixel", where=where, fix="Copy the file again")
    return MediaError(f"The {kind} picture is damaged or of a rare kind", where=where, fix="Save it again as PNG")


def _remark_pixels(picture: Image.Image, where: str, remarks: list[str] | None) -> None:
    """Say how many pixels of a picture of floats are no numbers; refuse one without any number."""
    if picture.mode != "F":
        return
    known = np.isfinite(np.asarray(picture))
    num_bad = known.size - int(known.sum())
    if num_bad == known.size:
        raise MediaError("Not one pixel of the picture is a finite number", where=where, fix="Save it again as PNG")
    if num_bad and remarks is not None:
        remarks.append(f"{num_bad} of {known.size} pixels are not finite numbers and count as 0")


def _upright_rgb(picture: Image.Image) -> np.ndarray:
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    except Exception:
        # Damaged notes about a picture are no reason to lose it
        turn = None
    return _rgb(picture if turn is None else picture.transpose(turn))


def _rgb(picture: Image.Image) -> np.ndarray:
    """Any mode to uint8 (H, W, 3); transparency on white."""
    mode = picture.mode
    marked = "transparency" in picture.info and mode in ("1", "L", "P", "RGB")
    if marked or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        if mode == "La":
            picture = picture.convert("LA")
        clear = picture.convert("RGBA")
        ground = Image.new("RGB", picture.size, (255, 255, 255))
        ground.paste(clear, (0, 0), clear)
        return np.asarray(ground)
    if mode.startswith("I;16"):
        return _grey(_from_16_bit(np.asarray(picture)), picture)
    if mode in ("I", "F"):
        return _grey(_from_any_range(np.asarray(picture)), picture)
    return np.asarray(picture if mode == "RGB" else picture.convert("RGB"))


def _grey(pixels: np.ndarray, picture: Any) -> np.ndarray:
    """One channel three times; deep TIFFs whose 0 is white come from Pillow as they are."""
    if getattr(picture, "tag_v2", {}).get(262) == 0:
        pixels = 255 - pixels
    return np.repeat(pixels[:, :, None], 3, axis=2)


def _from_16_bit(values: np.ndarray) -> np.ndarray:
    """0 to 65535 to the nearest of 0 to 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_any_range(values: np.ndarray) -> np.ndarray:
    """Floats 0 to 1 as they are; other floats and 32-bit integers by their own least and greatest value."""
    numbers = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min()), float(numbers.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return ((numbers - low) * (255.0 / max(high - low, 1e-30)) + 0.5).astype(np.uint8)
