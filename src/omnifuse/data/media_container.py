"""Containers of video and sound, opened so that no other file or address can ever be reached from inside them."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omnifuse.data.media_boxes import check_boxes
from omnifuse.errors import MediaError, MissingDependencyError

INSTALL = 'Type: pip install "omnifuse[video]"'
_NAMES = "MP4, MOV, MKV, WebM, AVI, MPEG or GIF"
_PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"<smil", b"<ASX", b"<asx")
# Transport streams have 0x47 at the start of every packet; those of discs put four bytes before it
_PACKETS = ((0, 188), (4, 192))
_ATTACHED_PICTURE = 0x400
_BUFFER = 1 << 18
# Decoders that are met in practice; the many rare ones are the least tested code of the library below
_DECODERS = frozenset(
    ("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4", "mpeg1video", "mpeg2video")
    + ("msmpeg4", "msmpeg4v1", "msmpeg4v2", "h263", "mjpeg", "theora", "prores", "dnxhd", "dvvideo", "ffv1", "huffyuv")
    + ("ffvhuff", "rawvideo", "gif", "png", "wmv1", "wmv2", "vc1", "cinepak", "flv", "qtrle")
)


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header declares: frame size in pixels, seconds (0 where unknown), whether it has a sound track."""

    height: int
    width: int
    duration_s: float
    has_sound: bool


def video_format(start: bytes) -> str | None:
    """Name of the container that the first 1,024 bytes show; None where it is not on the list."""
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip") and start[:2] == b"\0\0":
        return "mov"
    if start.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    if start.startswith(b"\0\0\x01\xba"):
        return "mpeg"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    for first, size in _PACKETS:
        marks = start[first::size]
        if len(marks) >= 3 and set(marks) == {0x47}:
            return "mpegts"
    return None


def is_playlist(start: bytes) -> bool:
    """Whether the first bytes are those of a text that names other files to be played."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_PLAYLIST_STARTS)


def need_video(column: str = "") -> None:
    """Refuse to go on without the package that decodes videos.

    Args:
        column: What is to be read, for the message.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "videos are read with the package av, which is not installed",
            where=f"column '{column}'" if column else "",
            fix=f"{INSTALL}, or leave the column out with --drop",
        ) from None


class Deadline:
    """Wall time that decoding one medium may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raise `TimeoutError` once it has passed."""
        if time.monotonic() > self.end:
            raise TimeoutError


class _Source(io.RawIOBase):
    """A file descriptor or bytes as all that a container can see: reads and seeks within it, nothing else."""

    def __init__(self, source: int | bytes | bytearray, deadline: Deadline) -> None:
        super().__init__()
        self._file: Any = io.FileIO(source, closefd=False) if isinstance(source, int) else io.BytesIO(source)
        self._deadline = deadline
        self.size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        self._deadline.check()
        data: bytes = self._file.read(size)
        return data or b""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; -1, which is an error to the caller, where a damaged header asks for a place before the start."""
        try:
            return int(self._file.seek(offset, whence))
        except (ValueError, OverflowError, OSError):
            return -1

    def tell(self) -> int:
        """Where the next read starts."""
        return int(self._file.tell())

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True


def _refuse(url: str, flags: int, options: Any) -> Any:
    """Called for every further file that a container wants to open: none is."""
    raise PermissionError


@contextlib.contextmanager
def opened(
    source: int | bytes | bytearray, start: bytes, *, max_pixels: int, deadline: Deadline, where: str
) -> Iterator[Any]:
    """A container over a file descriptor (left open) or bytes, of the one format that its first bytes show.

    Args:
        source: File descriptor or content; read from its beginning.
        start: Its first bytes.
        max_pixels: No decoder takes larger frames.
        deadline: Ends everything.
        where: For error messages.

    Raises:
        MediaError: Not a container on the list, damaged, or too slow; also for whatever the block within raises.
    """
    kind = video_format(start)
    if kind is None and is_playlist(start):
        raise MediaError("This is a playlist, which names other files: they are not opened", where=where)
    if kind is None:
        raise MediaError(f"The content is not {_NAMES}", where=where, fix="Convert it to MP4 or WebM")
    try:
        import av
    except ImportError:
        raise MediaError("Videos are read with the package av, which is absent", where=where, fix=INSTALL) from None
    try:
        file = _Source(source, deadline)
        if kind == "mov":
            check_boxes(file, file.size, where)
            file.seek(0)
        # No protocol at all is on the list, so that nothing but `file` can be read
        container_options = {"protocol_whitelist": "none", "format_whitelist": kind_names(kind)}
        options = {"max_pixels": str(max_pixels), "threads": "1"}
        with av.open(
            file, "r", kind, options, container_options, buffer_size=_BUFFER, io_open=_refuse, metadata_errors="replace"
        ) as container:
            yield container
    except MediaError:
        raise
    except TimeoutError:
        raise MediaError(
            f"Decoding the video took longer than {deadline.seconds:g} s", where=where, fix="Make it shorter or smaller"
        ) from None
    except (av.FFmpegError, OSError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError):
        raise MediaError("The video is damaged or of a rare kind", where=where, fix="Convert it to MP4") from None


def kind_names(kind: str) -> str:
    """All names of a container's demuxer, which the library below compares as one list."""
    return {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}.get(kind, kind)


def picture_stream(container: Any, where: str) -> Any:
    """The first stream of moving pictures that can be decoded; a cover is none.

    Raises:
        MediaError: There is none.
    """
    streams = [item for item in container.streams.video if not item.disposition.value & _ATTACHED_PICTURE]
    if not streams:
        only = "a sound track but no" if container.streams.audio else "no"
        raise MediaError(f"The file has {only} moving pictures", where=where, fix="Give a video, or read it as audio")
    for stream in streams:
        context = stream.codec_context
        if context is not None and context.codec.name in _DECODERS:
            return stream
    name = getattr(streams[0].codec_context, "name", "an unknown one")
    raise MediaError(f"Its codec is {str(name)[:20]}, which is not read", where=where, fix="Convert it to H.264 or VP9")


def read_info(source: int | bytes | bytearray, start: bytes, *, max_pixels: int, max_s: float, where: str) -> VideoInfo:
    """Size, duration and sound of a video by its header alone.

    Raises:
        MediaError: Not a video of a known format.
    """
    with opened(source, start, max_pixels=max_pixels, deadline=Deadline(max_s), where=where) as container:
        stream = picture_stream(container, where)
        lengths = [0.0]
        if stream.duration and stream.time_base:
            lengths.append(float(stream.duration * stream.time_base))
        elif container.duration:
            lengths.append(container.duration / 1e6)
        context = stream.codec_context
        return VideoInfo(context.height, context.width, max(lengths), bool(container.streams.audio))


def sound_rate_of(source: int | bytes | bytearray, start: bytes, *, max_s: float, where: str) -> int:
    """Samples a second of a container's sound track; 0 where it has none.

    Raises:
        MediaError: Not a container of a known format.
    """
    with opened(source, start, max_pixels=1 << 20, deadline=Deadline(max_s), where=where) as container:
        return int(container.streams.audio[0].rate or 0) if container.streams.audio else 0
