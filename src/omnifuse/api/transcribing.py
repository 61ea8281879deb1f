"""What is said in the sounds of a table: windows, the search over CTC's frames, the decoder's opinion, timed words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.data.bpe import TargetTokenizer
from omnifuse.data.media import MediaDoor
from omnifuse.data.tables import Table, open_table
from omnifuse.errors import InputError, MediaError, did_you_mean
from omnifuse.readout.ctc import CtcBeamSearch
from omnifuse.readout.ctc import Hypothesis as Heard
from omnifuse.readout.predictions import NOTHING_READABLE
from omnifuse.readout.sound_windows import OVERLAP, SoundWindow, sound_windows, window_length
from omnifuse.readout.speech import SpeechLanguage, SpeechOptions, ctc_search, known_phrases, mixed_score
from omnifuse.readout.transcript import Transcript, doubt
from omnifuse.readout.vad import VoiceActivity
from omnifuse.readout.windows_merge import join
from omnifuse.readout.words import Word
from omnifuse.schema import Hypothesis, Modality, Schema, TaskKind

if TYPE_CHECKING:
    from omnifuse.api.model import Model
    from omnifuse.data.pack import Pack
    from omnifuse.model import MultimodalModel

# Windows that are encoded at once, rows of a table likewise
AT_ONCE = 8
# Tokens of the encoder stand for so many frames of the spectrum
SUBSAMPLING = 4
# Of which the decoder chooses
MOST_RESCORED = 8
# By how much, in logarithms, a text is less likely that a network has not among its best ones
_NOT_HEARD = 3.0


def search_speech(
    members: Sequence[MultimodalModel],
    packs: Mapping[str, Pack],
    rows: np.ndarray,
    target: str,
    text: TargetTokenizer,
    *,
    language: SpeechLanguage | None,
    options: SpeechOptions,
    frame_s: float | None = None,
    search: CtcBeamSearch | None = None,
) -> list[list[Heard]]:
    """Transcripts of packed rows.

    Args:
        members: Networks of one architecture, in eval mode.
        packs: Input to decoded arrays.
        rows: Rows.
        target: The transcript.
        text: Its vocabulary.
        language: Of the transcripts; None for none.
        options: Of the search; phrases as `known_phrases` gives them.
        frame_s: Seconds of a token; with it the best hypothesis has words.
        search: Of these options, where it was made before.

    Returns:
        For each row at most `options.num` hypotheses, best first; none where it has no sound.
    """
    from omnifuse.training.generate import ctc_frames, score_texts

    search = search or ctc_search(text, language, options)
    asked = max(options.num, min(MOST_RESCORED, options.beams)) if options.attention > 0 else options.num
    found: list[list[Heard]] = []
    for start in range(0, len(rows), AT_ONCE):
        chunk = rows[start : start + AT_ONCE]
        # Networks put the same piece at unlike frames, so the mean of their frames would hold it twice
        by_member = [ctc_frames([member], packs, chunk, target) for member in members]
        frames = by_member[0]
        listed = [
            _pooled([search.search(logs, num=asked) for logs in of_row])[:asked] if len(of_row[0]) else []
            for of_row in zip(*by_member, strict=True)
        ]
        if options.attention > 0:
            # One hypothesis needs no second opinion
            doubtful = [[item.tokens for item in one] if len(one) > 1 else [] for one in listed]
            scored = score_texts(members, packs, chunk, target, doubtful)
            listed = [_ordered(one, scores, options) for one, scores in zip(listed, scored, strict=True)]
        for one, logs in zip(listed, frames, strict=True):
            best = one[:1] if frame_s is None else [search.timed(item, logs, frame_s) for item in one[:1]]
            found.append([*best, *one[1 : options.num]])
    return found


def _pooled(found: Sequence[Sequence[Heard]]) -> list[Heard]:
    """What several networks heard in one sound, ordered by the mean of their scores.

    Args:
        found: Of each network its hypotheses; one that it has not is taken for less likely than all that it has.
    """
    scores = [{item.tokens: item.score for item in one} for one in found]
    lowest = [min(one.values()) - _NOT_HEARD for one in scores]
    every = {item.tokens: item for one in found for item in one}
    means = {
        tokens: float(np.mean([one.get(tokens, low) for one, low in zip(scores, lowest, strict=True)]))
        for tokens in every
    }
    return [replace(every[tokens], score=means[tokens]) for tokens in sorted(every, key=lambda one: -means[one])]


def _ordered(found: list[Heard], scores: np.ndarray, options: SpeechOptions) -> list[Heard]:
    if not len(scores):
        return found
    mixed = [
        mixed_score(item.score, float(score), options.attention) for item, score in zip(found, scores, strict=True)
    ]
    order = sorted(range(len(found)), key=lambda place: -mixed[place])
    return [replace(found[place], score=mixed[place]) for place in order]


def heard_texts(found: Sequence[Heard]) -> tuple[Hypothesis, ...]:
    """What a search heard, as other texts are given; of those that read alike the best one."""
    texts: dict[str, Hypothesis] = {}
    for item in found:
        length = max(1, len(item.tokens))
        texts.setdefault(item.text, Hypothesis(item.text, item.score, min(item.acoustic, 0.0), True, length))
    return tuple(texts.values())


def speech_options(options: Mapping[str, Any]) -> SpeechOptions:
    """Options of the user.

    Raises:
        InputError: A name is unknown or a value has no meaning.
    """
    known = [item.name for item in fields(SpeechOptions)]
    for name in options:
        if name not in known:
            raise InputError(f"there is no option '{name}' of transcribing", fix=did_you_mean(name, known))
    try:
        return SpeechOptions(**options)
    except TypeError as error:
        raise InputError(f"an option of transcribing has a wrong type ({error})", fix="Give numbers") from None


def transcript_target(schema: Schema, target: str | None) -> str:
    """The target that is transcribed, the first by default.

    Raises:
        InputError: The model has none.
    """
    names = [item.name for item in schema.targets if item.kind is TaskKind.TRANSCRIPTION]
    if not names:
        answered = ", ".join(f"{item.name} ({item.kind.value})" for item in schema.targets)
        raise InputError(
            "the model writes no transcripts",
            where=f"it answers {answered}",
            fix="Fit one with --task COLUMN=transcription",
        )
    if target is not None and target not in names:
        raise InputError(f"the model has no transcript '{target}'", fix=did_you_mean(target, names))
    return target or names[0]


class Listener:
    """A model that listens with one set of options.

    Args:
        model: The model.
        target: The transcript; the first by default.
        options: Of the search.
        speech_only: Leave out windows without a voice.

    Attributes:
        notes: Sentences on phrases that cannot be listened for.
    """

    def __init__(self, model: Model, *, target: str | None, options: SpeechOptions, speech_only: bool = True) -> None:
        self.model, self.target, self.speech_only = model, transcript_target(model.schema, target), speech_only
        self.text: TargetTokenizer = model.preprocessors[self.target]
        phrases, self.notes = known_phrases(options.phrases, self.text)
        self.options = SpeechOptions(**{**options.__dict__, "phrases": phrases})
        self.language = model.language.get(self.target)
        self.sound = next(item for item in model.schema.fields if item.modality is Modality.AUDIO)
        self.audio = model.preprocessors[self.sound.name]
        self.rate_hz = int(self.audio.rate_hz)
        self.frame_s = SUBSAMPLING * max(1, round(self.audio.hop_s * self.rate_hz)) / self.rate_hz
        longest = self.language.longest_s if self.language is not None else float(self.audio.max_seconds)
        self.window_s = window_length(longest, float(self.audio.max_seconds))
        self.voice = VoiceActivity()
        self.search = ctc_search(self.text, self.language, self.options)

    def has_voice(self, samples: np.ndarray) -> bool:
        """Whether a window is worth listening to."""
        return bool(len(samples)) and (not self.speech_only or bool(self.voice(samples, self.rate_hz)))

    def rows(self, sounds: Sequence[np.ndarray], cells: Mapping[str, Any], *, confined: bool, root: Any) -> Any:
        """Decoded rows of sounds with the same other cells."""
        listed = [{**cells, self.sound.source: (samples, self.rate_hz)} for samples in sounds]
        return self.model.decode(open_table(listed, media_root=root), confined=confined)

    def hear(self, windows: Sequence[SoundWindow], cells: Mapping[str, Any], *, confined: bool, root: Any) -> Any:
        """Hypotheses of each window, whose words have times from the start of the sound; and the fields that were read.

        Args:
            windows: With a voice.
            cells: Of the other columns.
            confined: As for `Model.decode`.
            root: Folder of other media of the row.
        """
        decoded = self.rows([item.samples for item in windows], cells, confined=confined, root=root)
        found = search_speech(
            self.model.members,
            decoded.packs,
            np.arange(len(windows)),
            self.target,
            self.text,
            language=self.language,
            options=self.options,
            frame_s=self.frame_s,
            search=self.search,
        )
        used = tuple(name for name in self.model.fields if decoded.packs[name].present[0])
        return found, used, decoded.warnings()[0]


def transcribed(
    model: Model,
    source: Any,
    *,
    target: str | None,
    media_root: Path | None,
    speech_only: bool,
    options: Mapping[str, Any],
) -> Iterator[Transcript]:
    """As `Model.transcribe`, one after another, in bounded memory."""
    listener = Listener(model, target=target, options=speech_options(options), speech_only=speech_only)
    table = source if isinstance(source, Table) else open_table(source, media_root=media_root)
    start = 0
    for chunk in table.batches(AT_ONCE):
        columns = {name: chunk.cells(name) for name in chunk.columns}
        for row in range(chunk.num_rows):
            cells = {name: column[row] for name, column in columns.items()}
            yield _transcript(listener, cells, start + row, table, confined=media_root is not None)
        start += chunk.num_rows


def _transcript(listener: Listener, cells: dict[str, Any], number: int, table: Table, *, confined: bool) -> Transcript:
    """The transcript of one row."""
    model = listener.model
    ids = [name for name in model.schema.ids if name in cells]
    row_id = cells[ids[0]] if ids else number
    column = listener.sound.source
    cell = cells.get(column)
    others = {item.source: cells.get(item.source) for item in model.schema.fields if item.source != column}
    if cell is None:
        return Transcript(row_id, (), 0.0, error=NOTHING_READABLE, model_id=model.model_id)
    door = MediaDoor(root=table.root, confined=confined)
    merged: list[Word] = []
    texts: tuple[Hypothesis, ...] = ()
    used: tuple[str, ...] = (listener.sound.name,)
    warnings: list[str] = list(listener.notes)
    end_s, heard, num_windows, last_voiced = 0.0, 0, 0, False
    try:
        blocks = door.sound_blocks(cell, listener.rate_hz)
        windows = sound_windows(
            blocks, listener.rate_hz, window_s=listener.window_s, overlap_s=OVERLAP * listener.window_s
        )
        for part in _batches(windows):
            num_windows += len(part)
            voiced = [window for window in part if listener.has_voice(window.samples)]
            found: list[list[Heard]] = []
            if voiced:
                found, used, said = listener.hear(voiced, others, confined=confined, root=table.root)
                warnings += [item for item in said if item not in warnings]
            for window in part:
                is_joined = last_voiced and end_s > window.start_s
                overlap, end_s, last_voiced = (window.start_s, end_s), window.end_s, window in voiced
                # Of a window without a voice, the neighbours know all there is
                if not last_voiced:
                    continue
                one = found[voiced.index(window)]
                heard, texts = heard + 1, heard_texts(one)
                words = [word.shifted(window.start_s) for word in one[0].words] if one else []
                merged = join(merged, words, overlap) if is_joined else [*merged, *words]
    except MediaError as error:
        warnings.append(f"{column}: {error.what}")
        error_words = None if merged else NOTHING_READABLE
        return Transcript(row_id, tuple(merged), end_s, (), tuple(warnings), used, error_words, model_id=model.model_id)
    done = Transcript(row_id, tuple(merged), end_s)
    if not heard:
        warnings.append("no speech was found")
    return Transcript(
        row_id,
        done.words,
        end_s,
        texts if num_windows == 1 else (),
        (*warnings, *doubt(done.confidence)),
        used,
        model_id=model.model_id,
    )


def _batches(windows: Iterator[SoundWindow]) -> Iterator[list[SoundWindow]]:
    """Up to `AT_ONCE` windows at a time."""
    part: list[SoundWindow] = []
    for window in windows:
        part.append(window)
        if len(part) == AT_ONCE:
            yield part
            part = []
    if part:
        yield part
