"""The sound track of a video, decoded block by block within the budgets of any sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from omnifuse.data.media_audio import MOST_CHANNELS, MOST_HERTZ, mono_block, resample_blocks
from omnifuse.data.media_container import Deadline, opened
from omnifuse.errors import MediaError

_DAMAGED_PACKETS = 1000


class NoSoundError(MediaError):
    """A video without a sound track."""


def decode_track(
    source: int | bytes | bytearray,
    start: bytes,
    *,
    rate_hz: int,
    max_s: float,
    max_bytes: int,
    max_decode_s: float,
    where: str = "",
) -> tuple[np.ndarray, str]:
    """Decode the first sound track of a container.

    Args:
        source: File descriptor (left open) or content.
        start: Its first 1,024 bytes.
        rate_hz: Rate of the result.
        max_s: Longer sounds are cut here.
        max_bytes: Sounds that decode (as float32, all channels) to more within `max_s` are refused.
        max_decode_s: Wall time.
        where: For error messages.

    Returns:
        As `decode_audio`: float32 (S,), and a sentence on samples that were not finite.

    Raises:
        NoSoundError: There is no sound track.
        MediaError: Not a container of a known format, damaged, too large, or without samples.
    """
    deadline = Deadline(max_decode_s)
    with opened(source, start, max_pixels=1 << 24, deadline=deadline, where=where) as container:
        if not container.streams.audio:
            raise NoSoundError("The video has no sound track", where=where)
        stream = container.streams.audio[0]
        context = stream.codec_context
        rate, channels = (0, 0) if context is None else (int(context.sample_rate or 0), int(context.channels or 0))
        if not 1 <= rate <= MOST_HERTZ or not 1 <= channels <= MOST_CHANNELS:
            raise MediaError(f"The sound track declares {channels} channels at {rate} samples a second", where=where)
        blocks = _blocks(container, stream, max_s, max_bytes, deadline, where)
        return resample_blocks(blocks, rate, rate_hz, where)


def _blocks(
    container: Any, stream: Any, max_s: float, max_bytes: int, deadline: Deadline, where: str
) -> Iterator[tuple[np.ndarray, bool, int]]:
    """Mono blocks until the track, the time or the budget ends."""
    import av

    context = stream.codec_context
    rate, channels = context.sample_rate, context.channels
    # Whatever the decoder gives, and should it change midway, as planes of floats
    convert = av.AudioResampler(format="fltp", layout=context.layout, rate=rate)
    left, used, num_damaged = int(np.ceil(max_s * rate)), 0, 0
    for packet in container.demux(stream):
        deadline.check()
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            num_damaged += 1
            if num_damaged > _DAMAGED_PACKETS:
                return
            continue
        for frame in frames:
            frame.pts = None
            for plain in convert.resample(frame):
                block = plain.to_ndarray().T[:left]
                if not len(block):
                    return
                left -= len(block)
                used += 4 * channels * len(block)
                if used > max_bytes:
                    raise MediaError(
                        f"The sound has more than {max_bytes / 2**20:.0f} MB of samples ({channels} channels at "
                        f"{rate} Hz)",
                        where=where,
                        fix="Lower its rate, or cut it",
                    )
                yield mono_block(block)
