"""Video bytes and arrays to a few small frames on a clock: what is counted is decoded, never declared.

The packets are looked at first, without decoding them, to learn when each frame is shown; then only what is needed for
the wanted frames is decoded, and each is scaled down as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from omnifuse.data.media_container import Deadline, opened, picture_stream
from omnifuse.errors import MediaError

# Frames a second of an array that comes without a rate
ARRAY_RATE = 25.0
# Seeking starts the decoder anew; it pays where it leaves out so many frames
_SEEK_FRAMES = 24
# The longer side of a scaled frame is at most so many times the wanted shorter one
_LONGEST = 8
_DAMAGED_PACKETS = 1000
# Containers whose frames cannot be reached but one after the other
_NO_SEEKING = frozenset(("gif", "mpeg"))


class Clip(NamedTuple):
    """Frames of a video.

    Attributes:
        pixels: uint8 (F, H, W, 3), all of one size, F at least 1.
        time_s: float32 (F,) seconds from the start of the video at which each frame begins to be shown, rising.
        is_cut: Whether the video goes on behind what was read.
    """

    pixels: np.ndarray
    time_s: np.ndarray
    is_cut: bool = False


@dataclass(frozen=True)
class VideoBudget:
    """What decoding one video may cost.

    Args:
        max_s: Only so many seconds from the start are read.
        max_pixels: Larger frames are refused.
        max_frames: No more frames are looked at, nor decoded.
        max_decode_s: Wall time.
    """

    max_s: float
    max_pixels: int
    max_frames: int
    max_decode_s: float


@dataclass(frozen=True)
class _Timeline:
    """When frames are shown, in ticks of the stream: all of them, and those that decoding can start at."""

    stamps: np.ndarray
    keys: np.ndarray
    tick_s: float
    length: float
    is_cut: bool


def decode_video(
    source: int | bytes | bytearray,
    start: bytes,
    *,
    num_frames: int,
    budget: VideoBudget,
    min_side: int = 0,
    where: str = "",
) -> Clip:
    """Decode some frames of a video.

    The part that is read, at most `budget.max_s` long, is cut into `num_frames` equal parts, and the frame that is
    shown in the middle of each is taken; one that is shown in several of these moments is given once.

    Args:
        source: File descriptor (left open) or content.
        start: Its first 1,024 bytes.
        num_frames: Most frames of the result.
        budget: What it may cost.
        min_side: Frames are scaled down as long as both sides keep this many pixels; 0 keeps their size.
        where: For error messages.

    Returns:
        The clip: upright, transparent parts on white.

    Raises:
        MediaError: Not a video of a known format, damaged, too large, or without frames.
    """
    deadline = Deadline(budget.max_decode_s)

    def container() -> Any:
        return opened(source, start, max_pixels=budget.max_pixels, deadline=deadline, where=where)

    with container() as file:
        line = _timeline(file, picture_stream(file, where), budget, deadline)
    if not len(line.stamps):
        raise MediaError("The video has no frames", where=where, fix="Convert it again")
    moments = line.stamps[0] + (np.arange(num_frames) + 0.5) * (line.length / num_frames)
    wanted = line.stamps[np.maximum(np.searchsorted(line.stamps, moments, side="right") - 1, 0)]
    # Opened anew instead of wound back: that works for every container
    with container() as file:
        stream = picture_stream(file, where)
        reader = _Reader(file, stream, line, budget, deadline, where)
        chosen = reader.chosen(np.unique(wanted), min_side)
    if not chosen:
        raise MediaError("No frame of the video can be decoded", where=where, fix="Convert it to MP4")
    stamps = np.array([stamp for stamp, _ in chosen])
    times = np.maximum(stamps - min(line.stamps[0], stamps[0]), 0) * line.tick_s
    return Clip(np.stack([pixels for _, pixels in chosen]), times.astype(np.float32), line.is_cut)


def array_clip(frames: np.ndarray, rate: float, *, num_frames: int, max_s: float, max_pixels: int) -> Clip:
    """An array of frames as `decode_video` returns it, in its own size.

    Args:
        frames: uint8 (F, H, W, 3).
        rate: Frames a second.
        num_frames: Most frames of the result.
        max_s: Longer ones are cut here.
        max_pixels: Larger frames are refused.

    Raises:
        MediaError: Another shape, type or rate.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise MediaError(
            f"The video is an array of {frames.dtype} {frames.shape}, expected uint8 (frames, height, width, 3)"
        )
    if not 1e-3 <= rate <= 1e6:
        raise MediaError(f"The rate of the video is {rate} frames a second", fix="Give (array, frames a second)")
    _check_size(frames.shape[2], frames.shape[1], max_pixels, "")
    count = min(len(frames), max(1, round(max_s * rate)))
    index = np.unique(((np.arange(num_frames) + 0.5) * count / num_frames).astype(np.int64))
    return Clip(frames[index], (index / rate).astype(np.float32), count < len(frames))


def _check_size(width: int, height: int, max_pixels: int, where: str) -> None:
    if width < 1 or height < 1:
        raise MediaError(f"The frames of the video have no pixels ({height} x {width})", where=where)
    if width * height > max_pixels:
        raise MediaError(
            f"The frames of the video have {height} x {width} pixels, at most {max_pixels / 1e6:.0f} million are read",
            where=where,
            fix="Make it smaller",
        )


def _timeline(container: Any, stream: Any, budget: VideoBudget, deadline: Deadline) -> _Timeline:
    """From the packets alone, as far as the budget goes."""
    tick_s = float(stream.time_base) if stream.time_base else 1 / 90_000
    most = budget.max_s / tick_s
    stamps: list[int] = []
    keys: list[int] = []
    first, last_length, is_cut = None, 0, False
    for packet in container.demux(stream):
        deadline.check()
        stamp = packet.pts if packet.pts is not None else packet.dts
        if not packet.size or stamp is None:
            continue
        # In the order of decoding, which alone rises: frames between may be shown earlier
        order = packet.dts if packet.dts is not None else stamp
        first = order if first is None else first
        if order - first >= most or len(stamps) >= budget.max_frames:
            is_cut = True
            break
        stamps.append(stamp)
        last_length = packet.duration or 0
        if packet.is_keyframe:
            keys.append(stamp)
    shown = np.unique(np.array(stamps, np.int64))
    if not len(shown):
        return _Timeline(shown, shown, tick_s, 0.0, False)
    within = shown - shown[0] < most
    length = float(shown[-1] - shown[0])
    usual = float(np.median(np.diff(shown))) if len(shown) > 1 else 0.0
    length += last_length if 0 < last_length <= most else usual
    return _Timeline(
        shown[within],
        np.unique(np.array(keys, np.int64)),
        tick_s,
        min(length, most),
        is_cut or not bool(within.all()) or length > most * (1 + 1e-9),
    )


class _Reader:
    """Decodes what the wanted frames need, onwards or from the last key frame before them."""

    def __init__(
        self, container: Any, stream: Any, line: _Timeline, budget: VideoBudget, deadline: Deadline, where: str
    ) -> None:
        self.container, self.stream, self.line = container, stream, line
        self.budget, self.deadline, self.where = budget, deadline, where
        self.seeks = container.format.name not in _NO_SEEKING
        self.frames = self._decoded()
        self.num_decoded = self.num_damaged = 0
        self.ahead: Any = None

    def chosen(self, wanted: np.ndarray, min_side: int) -> list[tuple[int, np.ndarray]]:
        """Ticks and pixels of the frames shown at the wanted ticks, as far as they can be decoded."""
        found: list[tuple[int, np.ndarray]] = []
        shown: Any = None
        for tick in wanted.tolist():
            if self._leap(shown, tick):
                shown = None
            shown = self._until(shown, tick)
            if shown is None:
                break
            stamp = self._stamp(shown)
            if found and stamp <= found[-1][0]:
                continue
            found.append((stamp, self._small(shown, min_side, found[0][1].shape if found else None)))
        return found

    def _leap(self, shown: Any, tick: int) -> bool:
        """Seek to the last key frame before a tick where that leaves out many frames."""
        if not self.seeks or not len(self.line.keys):
            return False
        place = int(np.searchsorted(self.line.keys, tick, side="right")) - 1
        key = int(self.line.keys[max(place, 0)])
        now = self.line.stamps[0] if shown is None else self._stamp(shown)
        left_out = np.count_nonzero((self.line.stamps > now) & (self.line.stamps < key))
        if left_out < _SEEK_FRAMES:
            return False
        self.container.seek(key, stream=self.stream)
        self.frames, self.ahead = self._decoded(), None
        return True

    def _until(self, shown: Any, tick: int) -> Any:
        """The last frame that begins no later than a tick; the first one where none does; None at the end."""
        while shown is None or self._stamp(shown) < tick:
            frame = self.ahead if self.ahead is not None else next(self.frames, None)
            self.ahead = None
            if frame is None:
                break
            if shown is not None and self._stamp(frame) > tick:
                self.ahead = frame
                break
            shown = frame
        return shown

    def _decoded(self) -> Iterator[Any]:
        """Frames in the order in which they are shown; packets that are damaged are passed over."""
        import av

        for packet in self.container.demux(self.stream):
            self.deadline.check()
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                self.num_damaged += 1
                if self.num_damaged > _DAMAGED_PACKETS:
                    return
                continue
            for frame in frames:
                self.num_decoded += 1
                if self.num_decoded > 2 * self.budget.max_frames:
                    raise MediaError(
                        f"More than {2 * self.budget.max_frames} frames would have to be decoded", where=self.where
                    )
                if frame.pts is not None or frame.dts is not None:
                    yield frame

    @staticmethod
    def _stamp(frame: Any) -> int:
        return int(frame.pts if frame.pts is not None else frame.dts)

    def _small(self, frame: Any, min_side: int, like: tuple[int, ...] | None) -> np.ndarray:
        """Upright pixels of a frame, scaled down; in the shape of the first one where the size changes midway."""
        _check_size(frame.width, frame.height, self.budget.max_pixels, self.where)
        turns = round(frame.rotation / 90) % 4
        if like is None:
            height, width = self._scaled(frame, min_side)
        else:
            height, width = (like[1], like[0]) if turns % 2 else (like[0], like[1])
        clear = any(part.is_alpha for part in frame.format.components)
        small = frame.reformat(width, height, "rgba" if clear else "rgb24", interpolation="AREA").to_ndarray()
        if clear:
            weight = small[..., 3:].astype(np.uint16)
            small = ((small[..., :3] * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)
        return np.ascontiguousarray(np.rot90(small, turns))

    def _scaled(self, frame: Any, min_side: int) -> tuple[int, int]:
        """Height and width in square pixels, smaller by one factor."""
        ratio = float(self.stream.sample_aspect_ratio or 1)
        height, width = float(frame.height), float(frame.width)
        if 0.2 <= ratio <= 5:
            height, width = (height, width * ratio) if ratio < 1 else (height / ratio, width)
        scale = 1.0 if not min_side else min(1.0, min_side / min(height, width))
        if min_side:
            scale = min(scale, _LONGEST * min_side / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))
