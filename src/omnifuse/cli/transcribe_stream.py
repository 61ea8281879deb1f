"""Words on the terminal while a sound is read: final ones, and those that may still change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import typer

from omnifuse.data.media import MediaDoor
from omnifuse.errors import InputError
from omnifuse.readout.words import text_of

if TYPE_CHECKING:
    from omnifuse.api import Model
    from omnifuse.readout.ctc_stream import Partial

STDIN = "-"
_STEP_S = 0.24


def print_stream(
    model: Model,
    files: Sequence[str],
    target: str,
    cells: Mapping[str, str],
    *,
    options: Mapping[str, Any],
    rate_hz: int,
    as_json: bool,
) -> None:
    """A line for each change: "= " and final words, "~ " and those that may still change; with JSON an object a line.

    Args:
        model: The model.
        files: Paths of sounds, or "-" for samples on stdin.
        target: The transcript.
        cells: Of the other columns.
        options: As for `Model.transcribe`.
        rate_hz: Of samples on stdin.
        as_json: Whether to print JSON.
    """
    from omnifuse.api.speech_stream import SpeechStream

    for file in files:
        stream = SpeechStream(model, target=target, cells=cells, step_s=_STEP_S, **options)
        for note in stream.notes:
            typer.echo(note, err=True)
        if len(files) > 1 and not as_json:
            typer.echo(f"{file}:")
        blocks = _pcm(sys.stdin.buffer, rate_hz, stream.rate_hz) if file == STDIN else None
        shown = ""
        for block in blocks if blocks is not None else MediaDoor().sound_blocks(file, stream.rate_hz):
            step = max(1, round(_STEP_S * stream.rate_hz))
            for begin in range(0, len(block), step):
                shown = _show(file, stream.push(block[begin : begin + step]), shown, as_json=as_json)
        _show(file, stream.finish(), shown, as_json=as_json, ended=True)


def _show(file: str, part: Partial, shown: str, *, as_json: bool, ended: bool = False) -> str:
    """Print what is new and give back which pending words were printed last."""
    pending = text_of(part.pending)
    if not part.final and pending == shown and not (ended and as_json):
        return shown
    if as_json:
        data = {
            "file": file,
            "time_s": round(part.time_s, 3),
            "final": [word.to_json() for word in part.final],
            "pending": [word.to_json() for word in part.pending],
            "ended": ended,
        }
        sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    else:
        if part.final:
            sys.stdout.write(f"= {text_of(part.final)}\n")
        if pending and pending != shown:
            sys.stdout.write(f"~ {pending}\n")
    sys.stdout.flush()
    return pending


def _pcm(source: BinaryIO, rate: int, rate_hz: int) -> Iterator[np.ndarray]:
    """Samples of 16 bits, little-endian, as they come; half a sample at the end is left out."""
    import soxr

    if not 1000 <= rate <= 192_000:
        raise InputError(f"--rate is {rate}", fix="Give 1000 to 192000 samples a second")
    stream = None if rate == rate_hz else soxr.ResampleStream(rate, rate_hz, 1, dtype="float32")
    size = 2 * max(1, round(_STEP_S * rate))
    rest = b""
    while data := source.read(size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768
        yield samples if stream is None else stream.resample_chunk(samples)
    if stream is not None:
        yield stream.resample_chunk(np.empty(0, np.float32), last=True)
