"""The closed table of preprocessors, and fitting one for each input of a schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.bpe import TargetTokenizer
from omnifuse.data.date import DatePreprocessor
from omnifuse.data.image import ImagePreprocessor
from omnifuse.data.media_parts import each_part
from omnifuse.data.media_series import object_series
from omnifuse.data.place import PlacePreprocessor, paired
from omnifuse.data.pretrained_audio import WaveSound, WhisperSound
from omnifuse.data.pretrained_image import PretrainedImage
from omnifuse.data.pretrained_text import PretrainedText
from omnifuse.data.pretrained_video import PretrainedVideo
from omnifuse.data.series import SeriesPreprocessor
from omnifuse.data.table import TablePreprocessor
from omnifuse.data.tags import TagsPreprocessor
from omnifuse.data.text import TextPreprocessor
from omnifuse.data.video import VideoPreprocessor
from omnifuse.errors import ArtefactError, InputError, MediaError, did_you_mean
from omnifuse.schema import Input, Modality, Schema

# So many media are opened to choose a picture size or a sampling rate.
NUM_SAMPLED_MEDIA = 64
# Series are small: so many are read to scale their channels.
NUM_SAMPLED_SERIES = 512


@runtime_checkable
class Preprocessor(Protocol):
    """Raw cell to arrays: frozen, fitted on training rows alone, the same object in training, server and edge.

    Each array has a leading length axis, the same for all arrays of one cell. Media preprocessors take what the media
    door has decoded (pixels, samples); the table preprocessor takes a mapping of column to cell; the others a cell
    that is not missing.
    """

    kind: ClassVar[str]

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """Arrays of one cell."""
        ...

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell: length 0, of the dtype and width of any other."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values with the key "kind"."""
        ...


class Columns(Protocol):
    """What fitting needs of a table: the cells of a column, None for missing ones."""

    def cells(self, column: str, rows: np.ndarray | None = None) -> list[Any]:
        """Cells of some rows of a column, in the order of `rows`."""
        ...


class Door(Protocol):
    """What fitting needs of the media door; `audio_rate`, `series`, `video` and `video_info` are optional."""

    def image(self, cell: Any) -> np.ndarray:
        """Decoded pixels (H, W, 3)."""
        ...


PREPROCESSORS: dict[str, type] = {
    TextPreprocessor.kind: TextPreprocessor,
    ImagePreprocessor.kind: ImagePreprocessor,
    AudioPreprocessor.kind: AudioPreprocessor,
    VideoPreprocessor.kind: VideoPreprocessor,
    TablePreprocessor.kind: TablePreprocessor,
    DatePreprocessor.kind: DatePreprocessor,
    PlacePreprocessor.kind: PlacePreprocessor,
    TagsPreprocessor.kind: TagsPreprocessor,
    SeriesPreprocessor.kind: SeriesPreprocessor,
    # Of targets that are written
    TargetTokenizer.kind: TargetTokenizer,
    # Of pretrained backbones, whose `kind` is that of the medium
    **{item.stored_kind: item for item in (PretrainedText, PretrainedImage, WhisperSound, WaveSound, PretrainedVideo)},
}


def fit_preprocessors(
    table: Columns,
    schema: Schema,
    *,
    rows: np.ndarray,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    door: Door | None = None,
    known: Mapping[str, Preprocessor] | None = None,
) -> dict[str, Preprocessor]:
    """Fit the preprocessor of each input of the schema.

    Args:
        table: The table.
        schema: Its schema.
        rows: Numbers of the training rows; nothing is learned from any other.
        options: Input name to keyword arguments of that preprocessor's `fit`, for instance
            ``{"photo": {"height": 96, "width": 96}}``.
        door: Decodes the few media that are looked at to choose picture size and sampling rate; without it the
            default sizes are taken.
        known: Input name to a preprocessor that is taken as it is; its options count for nothing.

    Returns:
        Input name to preprocessor, in the order of `schema.inputs`.

    Raises:
        InputError: Options name an unknown input or argument, or a modality has no preprocessor.
    """
    chosen = dict(options or {})
    inputs = {item.name: item for item in schema.inputs}
    for name in chosen:
        if name not in inputs:
            raise InputError(f"Options are given for '{name}', which is no input", fix=did_you_mean(name, inputs))
    training_rows = np.asarray(rows, dtype=np.int64)
    fitted: dict[str, Preprocessor] = {}
    for item in inputs.values():
        if known is not None and item.name in known:
            fitted[item.name] = known[item.name]
            continue
        fit = _FITTERS.get(item.modality)
        if fit is None:
            raise InputError(
                f"Input '{item.name}' is of the modality '{item.modality}', which has no preprocessor",
                fix="Drop the column or name another modality for it",
            )
        source = _Source(table, schema, item, training_rows, door)
        fitted[item.name] = fit(source, dict(chosen.get(item.name, {})))
    return fitted


def preprocessors_to_json(preprocessors: Mapping[str, Preprocessor]) -> dict[str, Any]:
    """Input name to the JSON form of its preprocessor, as stored in `model.json`."""
    return {name: preprocessor.to_json() for name, preprocessor in preprocessors.items()}


def preprocessors_from_json(data: Mapping[str, Any]) -> dict[str, Preprocessor]:
    """Inverse of `preprocessors_to_json`.

    Raises:
        ArtefactError: An entry is damaged or of an unknown kind; names map to a closed table, never to code.
    """
    return {str(name): _from_json(str(name), entry) for name, entry in data.items()}


def _from_json(name: str, entry: Any) -> Preprocessor:
    kind = entry.get("kind") if isinstance(entry, Mapping) else None
    if kind not in PREPROCESSORS:
        raise ArtefactError(
            f"The preprocessor of input '{name}' is of the unknown kind {kind!r}",
            fix=did_you_mean(str(kind), PREPROCESSORS),
        )
    try:
        loaded: Preprocessor = PREPROCESSORS[kind].from_json(entry)  # type: ignore[attr-defined]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, InputError) as error:
        raise ArtefactError(f"The {kind} preprocessor of input '{name}' cannot be read: {error}") from error
    return loaded


class _Source:
    """The training cells of one input."""

    def __init__(self, table: Columns, schema: Schema, item: Input, rows: np.ndarray, door: Door | None) -> None:
        self.table, self.schema, self.item, self.rows, self.door = table, schema, item, rows, door

    def cells(self) -> list[Any]:
        columns = [self.table.cells(name, self.rows) for name in self.item.columns]
        return columns[0] if len(columns) == 1 else paired(*columns)

    def sampled(self, measure: Callable[[Any], Any], most: int = NUM_SAMPLED_MEDIA) -> list[Any]:
        """`measure` of some media, spread evenly over the rows; those that cannot be read are passed over."""
        count = min(len(self.rows), 4 * most)
        picked = self.rows[np.linspace(0, len(self.rows) - 1, count).astype(np.int64)] if count else self.rows
        cells = [part for _, part in each_part(self.table.cells(self.item.columns[0], picked))]
        step = max(1, len(cells) // most)
        return list(_measured(cells[::step][:most], measure))

    def names(self, modality: Modality) -> list[str]:
        wanted = {item.name for item in self.schema.fields if item.modality == modality}
        return [name for name in self.item.columns if name in wanted]


def _measured(cells: Sequence[Any], measure: Callable[[Any], Any]) -> Iterator[Any]:
    for cell in cells:
        try:
            yield measure(cell)
        except MediaError:
            continue


class _LazyColumns(Mapping[str, Sequence[Any]]):
    """Columns read when asked for, so that one column of objects is in memory at a time."""

    def __init__(self, source: _Source) -> None:
        self._source = source

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self._source.table.cells(name, self._source.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.item.columns)

    def __len__(self) -> int:
        return len(self._source.item.columns)


def _call(
    source: _Source, fit: Callable[..., Preprocessor], options: dict[str, Any], *args: Any, **given: Any
) -> Preprocessor:
    """Call `fit` with the user's options, which must be among its keyword arguments and win over `given`."""
    accepted = _option_names(fit)
    for name in options:
        if name not in accepted:
            raise InputError(
                f"Input '{source.item.name}' ({source.item.modality}) has no option '{name}'",
                fix=did_you_mean(name, accepted),
            )
    try:
        return fit(*args, **{**given, **options})
    except (TypeError, ValueError) as error:
        raise InputError(f"An option of input '{source.item.name}' has a wrong value: {error}") from error


def _option_names(fit: Callable[..., Preprocessor]) -> list[str]:
    parameters = inspect.signature(fit).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        owner = fit.__self__  # type: ignore[attr-defined]
        return list(inspect.signature(owner).parameters)
    reserved = {"numbers", "categories"}
    return [item.name for item in parameters if item.kind is item.KEYWORD_ONLY and item.name not in reserved]


def _fit_text(source: _Source, options: dict[str, Any]) -> Preprocessor:
    return _call(source, TextPreprocessor.fit, options, source.cells())


def _fit_date(source: _Source, options: dict[str, Any]) -> Preprocessor:
    return _call(source, DatePreprocessor.fit, options, source.cells())


def _fit_place(source: _Source, options: dict[str, Any]) -> Preprocessor:
    return _call(source, PlacePreprocessor.fit, options, source.cells())


def _fit_tags(source: _Source, options: dict[str, Any]) -> Preprocessor:
    return _call(source, TagsPreprocessor.fit, options, source.cells())


def _fit_table(source: _Source, options: dict[str, Any]) -> Preprocessor:
    numbers, categories = source.names(Modality.NUMBER), source.names(Modality.CATEGORY)
    return _call(source, TablePreprocessor.fit, options, _LazyColumns(source), numbers=numbers, categories=categories)


def _fit_image(source: _Source, options: dict[str, Any]) -> Preprocessor:
    door, known = source.door, {"height", "width"} <= options.keys()
    sizes = [] if door is None or known else source.sampled(lambda cell: door.image(cell).shape[:2])
    return _call(source, ImagePreprocessor.fit, options, sizes)


def _fit_audio(source: _Source, options: dict[str, Any]) -> Preprocessor:
    rate_of = getattr(source.door, "audio_rate", None)
    rates = [] if rate_of is None or "rate_hz" in options else source.sampled(rate_of)
    return _call(source, AudioPreprocessor.fit, options, [int(rate) for rate in rates if rate])


def _fit_series(source: _Source, options: dict[str, Any]) -> Preprocessor:
    read = getattr(source.door, "series", object_series)
    return _call(source, SeriesPreprocessor.fit, options, source.sampled(read, NUM_SAMPLED_SERIES))


def _fit_video(source: _Source, options: dict[str, Any]) -> Preprocessor:
    door: Any = source.door

    def seen(cell: Any) -> tuple[tuple[int, int], float]:
        # The first frame itself: only it tells how the picture is turned
        return door.video(cell, num_frames=1, max_s=0.1).pixels.shape[1:3], door.video_info(cell).duration_s

    found = source.sampled(seen) if hasattr(door, "video") else []
    return _call(source, VideoPreprocessor.fit, options, [size for size, _ in found], [length for _, length in found])


_FITTERS: dict[Modality, Callable[[_Source, dict[str, Any]], Preprocessor]] = {
    Modality.TEXT: _fit_text,
    Modality.IMAGE: _fit_image,
    Modality.AUDIO: _fit_audio,
    Modality.VIDEO: _fit_video,
    Modality.TABLE: _fit_table,
    Modality.DATE: _fit_date,
    Modality.PLACE: _fit_place,
    Modality.TAGS: _fit_tags,
    Modality.SERIES: _fit_series,
}
