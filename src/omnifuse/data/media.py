"""The ONE door through which every byte of media is decoded, with budgets that no header can talk it out of."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from omnifuse.data.media_audio import array_sound, decode_audio, read_blocks, sound_rate
from omnifuse.data.media_container import VideoInfo, read_info, sound_rate_of, video_format
from omnifuse.data.media_image import array_pixels, decode_image, picture_pixels
from omnifuse.data.media_paths import open_medium, read_medium, shown_name
from omnifuse.data.media_series import RawSeries, decode_series, is_series_text, object_series
from omnifuse.data.media_track import NoSoundError, decode_track
from omnifuse.data.media_video import ARRAY_RATE, Clip, VideoBudget, array_clip, decode_video
from omnifuse.errors import MediaError

__all__ = ["LoadedFile", "MediaDoor", "MediaLimits", "NoSoundError"]

_BLOCK = 1 << 20
_START = 1024
# Larger files are read piece by piece for their key, and again to decode what is used of them
_LOADED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class MediaLimits:
    """Budgets of one medium.

    Args:
        max_file_bytes: Larger files and contents are refused.
        max_pixels: Larger pictures are refused. Of an animation only the first frame is read, however many there are.
        max_audio_s: Longer sounds are cut here.
        max_audio_bytes: Sounds that decode to more, as float32 over all channels, are refused.
        max_series_bytes: Series that decode to more, as float64 over all channels, are refused, larger files too.
        max_video_s: Only so many seconds of a video are read.
        max_frame_pixels: Videos with larger frames are refused.
        max_video_frames: No more frames of a video are looked at.
        max_decode_s: Wall time for one video or its sound track.
    """

    max_file_bytes: int = 512 * 2**20
    max_pixels: int = 64 * 2**20
    max_audio_s: float = 600.0
    max_audio_bytes: int = 256 * 2**20
    max_series_bytes: int = 128 * 2**20
    max_video_s: float = 600.0
    max_frame_pixels: int = 10 * 2**20
    max_video_frames: int = 1 << 16
    max_decode_s: float = 40.0


@dataclass(frozen=True)
class LoadedFile:
    """The content of a file, read once, with the name that stands in the table, for error messages."""

    name: str | Path
    data: bytes = field(repr=False)

    @property
    def where(self) -> str:
        """For error messages."""
        return f"Read from '{shown_name(self.name)}'"


@dataclass(frozen=True)
class MediaDoor:
    """Opens the media that the cells of a table name or hold.

    A cell is a path, the bytes of a file, or an object that is decoded already. Web addresses are never opened.

    Args:
        root: Folder that relative paths resolve against; the working directory where None.
        confined: Refuse whatever resolves outside `root`: for paths that come from strangers.
        limits: Budgets of one medium.

    Example:
        >>> MediaDoor().image(np.zeros((2, 3), np.uint8)).shape
        (2, 3, 3)
    """

    root: Path | None = None
    confined: bool = False
    limits: MediaLimits = MediaLimits()

    def image(self, cell: Any, *, min_side: int = 0, remarks: list[str] | None = None) -> np.ndarray:
        """Decode a picture.

        Args:
            cell: Path, bytes, PIL image, or array (H, W), (H, W, 1), (H, W, 3), (H, W, 4) of uint8 or floats 0 to 1.
            min_side: Large JPEGs may be decoded smaller, which is several times as quick, as long as both sides keep
                this many pixels; 0 decodes the whole.
            remarks: Gets a sentence where pixels of floats were not finite and became 0.

        Returns:
            uint8 (H, W, 3), perhaps read-only. Turned as EXIF says; transparent parts on white; 16 bits scaled to 8.

        Raises:
            MediaError: The picture is refused or cannot be read.
        """
        max_pixels = self.limits.max_pixels
        if isinstance(cell, np.ndarray):
            return array_pixels(cell, max_pixels=max_pixels)
        if isinstance(cell, Image.Image):
            return picture_pixels(cell, max_pixels=max_pixels, remarks=remarks)
        if isinstance(cell, str | Path):
            cell = LoadedFile(cell, read_medium(cell, **self._opening))
        data: bytes | bytearray
        if isinstance(cell, LoadedFile):
            data, where = cell.data, cell.where
        else:
            data, where = self._content(cell, "picture"), ""
        return decode_image(data, max_pixels=max_pixels, min_side=min_side, where=where, remarks=remarks)

    def audio(
        self, cell: Any, rate_hz: int, *, max_s: float | None = None, remarks: list[str] | None = None
    ) -> np.ndarray:
        """Decode a sound.

        Args:
            cell: Path, bytes, array (S,) or (S, channels) at `rate_hz`, or a tuple of such an array and its rate. Of a
                video the sound track is meant.
            rate_hz: Rate of the result.
            max_s: Decode no more than this many seconds; at most `limits.max_audio_s`, where every sound is cut.
            remarks: Gets a sentence where samples were not finite and became 0.

        Returns:
            float32 (S,), the mean of the channels, finite, at least one sample.

        Raises:
            NoSoundError: The cell is a video without a sound track.
            MediaError: The sound is refused or cannot be read.
        """
        if _frames_of(cell)[0] is not None:
            raise NoSoundError("An array of frames has no sound track")
        limits = self.limits
        longest = limits.max_audio_s if max_s is None else min(max_s, limits.max_audio_s)
        samples, rate = _array_of(cell)
        if samples is not None:
            sound, remark = array_sound(samples, rate or rate_hz, rate_hz=rate_hz, max_s=longest)
        else:
            budget: dict[str, Any] = {"rate_hz": rate_hz, "max_s": longest, "max_bytes": limits.max_audio_bytes}
            sound, remark = self._decoded_audio(cell, budget)
        if remark and remarks is not None:
            remarks.append(remark)
        return sound

    def sound_blocks(self, cell: Any, rate_hz: int) -> Iterator[np.ndarray]:
        """A sound of any length, block by block; only the track of a video is decoded at once and cut as in `audio`.

        Args:
            cell: As for `audio`.
            rate_hz: Rate of the result.

        Yields:
            float32 (S,) finite.

        Raises:
            MediaError: The sound is refused or cannot be read.
        """
        if _frames_of(cell)[0] is not None:
            raise NoSoundError("An array of frames has no sound track")
        samples, rate = _array_of(cell)
        if samples is not None:
            yield array_sound(samples, rate or rate_hz, rate_hz=rate_hz, max_s=len(samples) / (rate or rate_hz) + 1)[0]
            return
        with self._content_of(cell, "sound") as (source, start, where):
            if video_format(start) is None:
                yield from read_blocks(source, start, rate_hz=rate_hz, where=where)
                return
        yield self.audio(cell, rate_hz)

    def _decoded_audio(self, cell: Any, budget: dict[str, Any]) -> tuple[np.ndarray, str]:
        with self._content_of(cell, "sound") as (source, start, where):
            if video_format(start) is None:
                return decode_audio(source, start, **budget, where=where)
            return decode_track(source, start, **budget, max_decode_s=self.limits.max_decode_s, where=where)

    def audio_rate(self, cell: Any) -> int:
        """Sampling rate of a sound in Hz, from its header alone; 0 for an array that comes without one.

        Raises:
            MediaError: The sound is refused or cannot be read.
        """
        if _frames_of(cell)[0] is not None:
            return 0
        samples, rate = _array_of(cell)
        if samples is not None:
            return rate
        with self._content_of(cell, "sound") as (source, start, where):
            if video_format(start) is None:
                return sound_rate(source, start, where=where)
            return sound_rate_of(source, start, max_s=self.limits.max_decode_s, where=where)

    def video(self, cell: Any, *, num_frames: int = 8, max_s: float | None = None, min_side: int = 0) -> Clip:
        """Decode some frames of a video, evenly spaced in time.

        Args:
            cell: Path, bytes, uint8 array (F, H, W, 3) at 25 frames a second, or a tuple of such an array and its rate.
            num_frames: Most frames; a video that has fewer gives all it has.
            max_s: Read no more than this many seconds from the start; at most `limits.max_video_s`.
            min_side: Frames are scaled down as long as both sides keep this many pixels; 0 keeps their size.

        Returns:
            Pixels uint8 (F, H, W, 3), the time in seconds from the start at which each frame begins to be shown, and
            whether the video goes on behind what was read. See `omnifuse.data.media_video.decode_video`.

        Raises:
            MediaError: The video is refused or cannot be read. Playlists are never followed.
        """
        limits = self.limits
        longest = limits.max_video_s if max_s is None else min(max_s, limits.max_video_s)
        frames, rate = _frames_of(cell)
        if frames is not None:
            return array_clip(frames, rate, num_frames=num_frames, max_s=longest, max_pixels=limits.max_frame_pixels)
        budget = VideoBudget(longest, limits.max_frame_pixels, limits.max_video_frames, limits.max_decode_s)
        with self._content_of(cell, "video") as (source, start, where):
            return decode_video(source, start, num_frames=num_frames, budget=budget, min_side=min_side, where=where)

    def video_info(self, cell: Any) -> VideoInfo:
        """Frame size, duration and whether there is a sound track, from a video's header alone.

        Raises:
            MediaError: The video is refused or cannot be read.
        """
        frames, rate = _frames_of(cell)
        if frames is not None:
            return VideoInfo(frames.shape[1], frames.shape[2], len(frames) / max(rate, 1e-3), False)
        limits = self.limits
        with self._content_of(cell, "video") as (source, start, where):
            return read_info(source, start, max_pixels=limits.max_frame_pixels, max_s=limits.max_decode_s, where=where)

    @contextlib.contextmanager
    def _content_of(self, cell: Any, what: str) -> Iterator[tuple[int | bytes | bytearray, bytes, str]]:
        """A path's open file, or a cell's bytes; its first bytes; and words for error messages."""
        if isinstance(cell, LoadedFile):
            yield cell.data, cell.data[:_START], cell.where
            return
        if not isinstance(cell, str | Path):
            data = self._content(cell, what)
            yield data, bytes(data[:_START]), ""
            return
        handle, _ = open_medium(cell, **self._opening)
        try:
            where = f"Read from '{shown_name(cell)}'"
            yield handle, _start_of(handle, where), where
        finally:
            os.close(handle)

    def series(self, cell: Any, *, remarks: list[str] | None = None) -> RawSeries:
        """Decode a sensor series.

        Args:
            cell: Path or bytes of an NPY, CSV, TSV, Parquet or JSON file; array (F,) or (F, C); list of numbers or of
                rows; dict with "time"; JSON text of these. See `object_series` and `decode_series`.
            remarks: Gets a sentence where values are no numbers.

        Returns:
            The series as it was given; the preprocessor sorts and scales it.

        Raises:
            MediaError: The series is refused or cannot be read.
        """
        most = self.limits.max_series_bytes
        if isinstance(cell, RawSeries):
            return cell
        if isinstance(cell, Path) or (isinstance(cell, str) and not is_series_text(cell)):
            opening = self._opening | {"max_bytes": min(most, self.limits.max_file_bytes)}
            where = f"Read from '{shown_name(cell)}'"
            return decode_series(read_medium(cell, **opening), max_bytes=most, where=where, remarks=remarks)
        if isinstance(cell, bytes | bytearray):
            return decode_series(self._content(cell, "series"), max_bytes=most, where="", remarks=remarks)
        return object_series(cell, max_bytes=most, remarks=remarks)

    def size(self, cell: Any) -> int:
        """Bytes that a path or bytes cell holds before decoding; 0 for other cells and what cannot be opened."""
        if isinstance(cell, bytes | bytearray):
            return len(cell)
        if not isinstance(cell, str | Path):
            return 0
        try:
            return os.stat(os.path.join(self.root, cell) if self.root is not None else cell).st_size
        except (OSError, ValueError):
            return 0

    def loaded(self, cell: Any) -> Any:
        """A file's content where the cell is a path, so that key and decoding read it once; other cells as they are.

        Files of more than 64 MB stay paths.

        Raises:
            MediaError: The file is refused.
        """
        if not isinstance(cell, str | Path) or self.size(cell) > _LOADED_BYTES:
            return cell
        return LoadedFile(cell, read_medium(cell, **self._opening))

    def content_key(self, cell: Any) -> str:
        """SHA-256 of a medium's content in hexadecimal digits: a file and its bytes have the same key.

        Raises:
            MediaError: The file is refused, or the cell is no medium.
        """
        if isinstance(cell, Image.Image):
            return _array_key(self.image(cell))
        samples, rate = _array_of(cell) if _frames_of(cell)[0] is None else _frames_of(cell)
        if samples is not None:
            return _array_key(samples, rate)
        if isinstance(cell, LoadedFile):
            return hashlib.sha256(cell.data).hexdigest()
        if not isinstance(cell, str | Path):
            return hashlib.sha256(self._content(cell, "medium")).hexdigest()
        handle, size = open_medium(cell, **self._opening)
        digest = hashlib.sha256()
        try:
            while size > 0 and (block := os.read(handle, min(size, _BLOCK))):
                digest.update(block)
                size -= len(block)
        except OSError:
            raise MediaError("The file cannot be read", where=f"Read from '{shown_name(cell)}'") from None
        finally:
            os.close(handle)
        return digest.hexdigest()

    @property
    def _opening(self) -> dict[str, Any]:
        return {"root": self.root, "confined": self.confined, "max_bytes": self.limits.max_file_bytes}

    def _content(self, cell: Any, what: str) -> bytes | bytearray:
        """The cell's bytes, within their budget."""
        if not isinstance(cell, bytes | bytearray):
            raise MediaError(
                f"A {what} cannot be read from a cell of type {type(cell).__name__}",
                fix="Give a path, the bytes of a file, or an array",
            )
        if not cell:
            raise MediaError(f"The {what} is empty (0 bytes)")
        if len(cell) > self.limits.max_file_bytes:
            raise MediaError(
                f"The {what} has {len(cell) / 2**20:.0f} MB, at most {self.limits.max_file_bytes / 2**20:.0f} MB are "
                "read",
                fix="Make it smaller",
            )
        return cell


def _start_of(handle: int, where: str) -> bytes:
    """The first bytes of an open file; the next read starts at the beginning again."""
    try:
        start = os.read(handle, _START)
        os.lseek(handle, 0, os.SEEK_SET)
    except OSError:
        raise MediaError("The file cannot be read", where=where) from None
    return start


def _array_of(cell: Any) -> tuple[np.ndarray | None, int]:
    """Array and rate of a cell that holds one; rate 0 where it comes without."""
    if isinstance(cell, np.ndarray):
        return cell, 0
    if isinstance(cell, tuple) and len(cell) == 2 and isinstance(cell[0], np.ndarray):
        try:
            rate = int(cell[1])
        except (TypeError, ValueError, OverflowError):
            rate = -1
        if rate < 1:
            raise MediaError("A sound given as a tuple is (array, samples a second)", fix="Give a whole number as rate")
        return cell[0], rate
    return None, 0


def _frames_of(cell: Any) -> tuple[np.ndarray | None, float]:
    """Array (F, H, W, C) and rate of a cell that holds the frames of a video."""
    if isinstance(cell, np.ndarray) and cell.ndim == 4:
        return cell, ARRAY_RATE
    if isinstance(cell, tuple) and len(cell) == 2 and isinstance(cell[0], np.ndarray) and cell[0].ndim == 4:
        try:
            return cell[0], float(cell[1])
        except (TypeError, ValueError):
            raise MediaError("A video given as a tuple is (array, frames a second)") from None
    return None, 0.0


def _array_key(array: np.ndarray, rate: float = 0) -> str:
    if array.dtype.hasobject:
        raise MediaError(f"A medium cannot be read from an array of {array.dtype}", fix="Give an array of numbers")
    digest = hashlib.sha256(f"array {array.dtype.str} {array.shape} {rate}\n".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
