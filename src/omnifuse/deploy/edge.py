"""An exported model on a small machine: lines of JSON, a folder of files or a recording in, one answer each out.

Nothing stops at a bad line or file: it is answered with an error that names it, and the next one follows.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.folders import medium_of
from omnifuse.data.media import MediaDoor, NoSoundError
from omnifuse.deploy.runtime import Runtime
from omnifuse.deploy.session import Session
from omnifuse.errors import InputError, MediaError, OmnifuseError, did_you_mean
from omnifuse.schema import Modality, Prediction

# Frames a second that are taken of a recording, frames of it that are held, and the side that they keep at least
FRAMES_A_SECOND, MOST_HELD_FRAMES, FRAME_SIDE = 4.0, 480, 256
SOUND_HERTZ = 16_000
# Share of a step that is none of its own
SHORT_STEP = 0.05
_ENCODED = ("base64", "pcm16")
# The model that answers now and the name of its version in a registry, "" where none is followed
Current = Callable[[], tuple[Runtime, str]]


def answer_lines(
    runtime: Runtime | Current,
    lines: Iterable[str],
    *,
    proba: bool = False,
    window_s: float = 2.0,
    rates_hz: Mapping[str, int] | None = None,
    media_root: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Answer lines of JSON as they come.

    Args:
        runtime: Of the exported model, or what gives it for each line; a stream goes on with what its windows hold.
        lines: Each `{"column": cell}`, a row; or `{"t": seconds, "values": {"column": part}}`, the next part of a
            stream, see `Session.push`. Media are paths, `{"base64": content}`, or `{"pcm16": samples in base64}`.
        proba: Also give the probability of each class.
        window_s: Seconds of a stream that are looked at.
        rates_hz: Column of a sound to its rate in a stream.
        media_root: Media may lie only in this folder.

    Yields:
        For each line its answer with "line", or "line" and "error".
    """
    current = _current(runtime)
    session: Session | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        answering, version = current()
        try:
            data = _parsed(line)
            if set(data) == {"t", "values"} and isinstance(data["values"], dict):
                if session is None:
                    session = Session(answering, window_s=window_s, rates_hz=rates_hz, media_root=media_root)
                elif session.runtime is not answering:
                    session.go_on_with(answering)
                at_s = data["t"]
                if isinstance(at_s, bool) or not isinstance(at_s, int | float):
                    raise InputError(f"'t' is {at_s!r}", fix="Give seconds, as a number")
                session.push({name: _cell(value) for name, value in data["values"].items()}, at_s=at_s)
                answer = session.predict(proba=proba)
            else:
                row = {name: _cell(value) for name, value in data.items()}
                (answer,) = answering.predict([row], proba=proba, media_root=media_root)
            yield {"line": number, **answer_json(answer, version)}
        except OmnifuseError as error:
            yield {"line": number, "error": str(error)}


def answer_folder(
    runtime: Runtime | Current, folder: Path, *, proba: bool = False, column: str = ""
) -> Iterator[dict[str, Any]]:
    """Answer each picture, sound, video and text file below a folder by itself.

    Args:
        runtime: Of the exported model, or what gives it for each file.
        folder: Files of other kinds in it are passed over.
        proba: Also give the probability of each class.
        column: Column that the files stand in, where the model reads several of their kind.

    Yields:
        For each file in order its answer with "file".

    Raises:
        InputError: There is no file that the model reads, or several columns could read one.
    """
    current, found = _current(runtime), False
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        kind = medium_of(path)
        answering, version = current()
        if kind is None or not (name := _column_for(answering, kind, column)):
            continue
        found = True
        try:
            cell = path.read_text(encoding="utf-8", errors="replace") if kind is Modality.TEXT else str(path)
            (answer,) = answering.predict([{name: cell}], proba=proba)
            yield {"file": str(path), **answer_json(answer, version)}
        except (OmnifuseError, OSError) as error:
            yield {"file": str(path), "error": str(error)}
    if not found:
        raise InputError(
            f"'{folder}' holds no file that the model reads",
            where=_reads(current()[0]),
        )


def answer_recording(
    runtime: Runtime | Current,
    path: Path,
    *,
    proba: bool = False,
    window_s: float = 2.0,
    every_s: float = 1.0,
    column: str = "",
) -> Iterator[dict[str, Any]]:
    """Answer a recording of a camera or a microphone step by step, as if it came now.

    Args:
        runtime: Of the exported model, or what gives it; one version answers the whole recording.
        path: A sound or a video; its frames go to the model's column of videos, else of pictures, its sound to that of
            sounds.
        proba: Also give the probability of each class.
        window_s: Seconds that each answer looks back.
        every_s: Seconds between answers.
        column: Column of the frames or of the sound where several could take it.

    Yields:
        For each step its answer with "t", the seconds from the start.

    Raises:
        InputError: The model reads nothing that the file holds.
        MediaError: The file cannot be read.
    """
    if not every_s > 0:
        raise InputError(f"an answer each {every_s} s", fix="Give a number of seconds above 0")
    runtime, version = _current(runtime)()
    door, kind = MediaDoor(), medium_of(path)
    frames: list[tuple[float, np.ndarray]] = []
    samples, length_s, sound = np.zeros(0, np.float32), 0.0, ""
    shown = ""
    if kind is Modality.VIDEO:
        shown = _column_for(runtime, Modality.VIDEO, column) or _column_for(runtime, Modality.IMAGE, column)
        length_s = door.video_info(str(path)).duration_s
        if shown:
            count = length_s * FRAMES_A_SECOND if length_s else MOST_HELD_FRAMES
            clip = door.video(str(path), num_frames=int(min(max(count, 1), MOST_HELD_FRAMES)), min_side=FRAME_SIDE)
            frames = list(zip(clip.time_s.tolist(), clip.pixels, strict=True))
            length_s = max(length_s, frames[-1][0])
    if kind in (Modality.VIDEO, Modality.AUDIO):
        sound = _column_for(runtime, Modality.AUDIO, column if kind is Modality.AUDIO else "")
        if sound:
            try:
                samples = door.audio(str(path), SOUND_HERTZ)
            except NoSoundError:
                sound = ""
    if not shown and not sound:
        raise InputError(
            f"the model reads nothing of '{path.name}'",
            where=_reads(runtime),
            fix="Give a video or a sound that belongs to one of these columns",
        )
    length_s = max(length_s, len(samples) / SOUND_HERTZ)
    session = Session(runtime, window_s=window_s, rates_hz={sound: SOUND_HERTZ} if sound else {})
    # Codecs lengthen a sound by some hundredths of a second; they belong to the last step
    steps = max(1, int(np.ceil(length_s / every_s - SHORT_STEP)))
    for step in range(steps):
        start_s, end_s = step * every_s, (step + 1) * every_s
        for at_s, pixels in frames:
            if start_s <= at_s < end_s:
                session.push({shown: pixels}, at_s=at_s)
        part = samples[round(start_s * SOUND_HERTZ) : round(end_s * SOUND_HERTZ) if step < steps - 1 else None]
        session.push({sound: part} if len(part) else {}, at_s=end_s)
        yield {"t": round(end_s, 3), **answer_json(session.predict(proba=proba), version)}


def answer_json(answer: Prediction, version: str = "") -> dict[str, Any]:
    """A prediction as plain JSON values, without a number of the row, with the version's name where it has one."""
    data = answer.to_json()
    data.pop("row_id")
    if version:
        data["version"] = version
    return data if answer.error is None else {**data, "error": answer.error}


def _current(runtime: Runtime | Current) -> Current:
    return (lambda: (runtime, "")) if isinstance(runtime, Runtime) else runtime


def _reads(runtime: Runtime) -> str:
    return f"it reads {', '.join(f'{name} ({kind.value})' for name, kind in runtime.columns.items())}"


def _parsed(line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the line is no JSON ({error})", fix='Write {"column": cell} on one line') from None
    if not isinstance(data, dict):
        raise InputError("the line is no JSON object", fix='Write {"column": cell} on one line')
    return data


def _cell(value: Any) -> Any:
    """Media in base64 as bytes, all else as it is."""
    if not (isinstance(value, dict) and len(value) == 1 and isinstance(value.get(next(iter(value))), str)):
        return value
    ((kind, text),) = value.items()
    if kind not in _ENCODED:
        return value
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("a medium is not in base64") from None
    return content


def _column_for(runtime: Runtime, kind: Modality, column: str) -> str:
    """The column that takes a kind of media, "" where none does."""
    fitting = [name for name, found in runtime.columns.items() if found is kind]
    if column:
        if column not in runtime.columns:
            raise InputError(f"the model reads no column '{column}'", fix=did_you_mean(column, list(runtime.columns)))
        return column if column in fitting else ""
    if len(fitting) > 1:
        raise InputError(f"{' and '.join(fitting)} could each take it", fix=f"Say which one: --column {fitting[0]}")
    return fitting[0] if fitting else ""
