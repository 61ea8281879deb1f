"""A row that lives: values come as they are measured, and each answer computes again only what has changed.

Sounds, frames and steps of a series are kept for a window of seconds; a picture counts for one window, all else until
it is given anew. An input whose cells are those of the last answer is neither decoded nor encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.data.decode import decode
from omnifuse.data.tables import open_table
from omnifuse.data.windows import MOST_HERTZ, FrameWindow, SoundWindow, StepWindow
from omnifuse.deploy.graph_runner import EncodedField
from omnifuse.errors import InputError, did_you_mean
from omnifuse.readout.predictions import make_predictions
from omnifuse.schema import Modality, Prediction

if TYPE_CHECKING:
    from omnifuse.deploy.runtime import Runtime

Window = SoundWindow | FrameWindow | StepWindow
DEFAULT_HERTZ = 16_000


@dataclass(frozen=True)
class _Computed:
    """An input as it was when its cells had these stamps."""

    stamps: tuple[Any, ...]
    encoded: EncodedField
    warnings: tuple[str, ...]


class Session:
    """Answers one place again and again.

    Args:
        runtime: Of a model that reads no history.
        window_s: Seconds of sounds, frames and steps that are looked at.
        rates_hz: Column of a sound to the rate of its samples; 16,000 for those not named.
        media_root: Paths of media lie in this folder; None opens any.

    Raises:
        InputError: The model reads history, or a setting makes no sense.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        window_s: float = 2.0,
        rates_hz: Mapping[str, int] | None = None,
        media_root: Any = None,
    ) -> None:
        _need_no_history(runtime)
        if not 0 < window_s < float("inf"):
            raise InputError(f"a window of {window_s} s", fix="Give a number of seconds above 0")
        self.runtime, self.window_s, self.media_root = runtime, window_s, media_root
        self.columns = runtime.columns
        self._rates_hz = dict(rates_hz or {})
        self._windows = _windows(self.columns, window_s, self._rates_hz)
        self._held: dict[str, tuple[float, Any]] = {}
        self._pushes = dict.fromkeys(self.columns, 0)
        self._computed: dict[str, _Computed] = {}
        self._now = 0.0
        self.num_encoded = 0

    def push(self, values: Mapping[str, Any], at_s: float) -> None:
        """Take in what was measured.

        Args:
            values: Column to its newest part: samples of a sound (bytes of 16-bit integers, or an array (S,)), a frame
                of a video (bytes of a picture, or an array (H, W, 3)), a step of a series (a number, a list, or
                channels by name); or to a whole cell, such as a path, in the place of what came before. None empties
                it.
            at_s: When, in seconds of any clock that does not go back.

        Raises:
            InputError: A column that the model does not read, or a time before the last one.
            MediaError: Samples, a frame or a step that cannot be read; all before it was taken in.
        """
        if not at_s >= self._now and self._pushed:
            raise InputError(f"the time goes back from {self._now:g} s to {at_s:g} s")
        for name in values:
            if name not in self.columns:
                raise InputError(f"the model reads no column '{name}'", fix=did_you_mean(name, list(self.columns)))
        self._now = float(at_s)
        for name, value in values.items():
            window = self._windows.get(name)
            if window is None or not _is_part(window, value):
                self._held[name] = (self._now, value)
                if window is not None:
                    window.clear()
            else:
                if isinstance(window, SoundWindow):
                    window.push(value)
                else:
                    window.push(value, self._now)
                self._held.pop(name, None)
            self._pushes[name] += 1

    def go_on_with(self, runtime: Runtime) -> None:
        """Answer with another model from now on: what was pushed into columns that both read stays.

        Raises:
            InputError: It reads history; the session goes on as it was.
        """
        _need_no_history(runtime)
        columns = runtime.columns
        both = {name for name, modality in columns.items() if self.columns.get(name) is modality}
        rates = {name: rate for name, rate in self._rates_hz.items() if columns.get(name) is Modality.AUDIO}
        fresh = _windows(columns, self.window_s, rates)
        self._windows = {name: self._windows[name] if name in both else window for name, window in fresh.items()}
        self._held = {name: held for name, held in self._held.items() if name in both}
        self._pushes = {name: self._pushes[name] if name in both else 0 for name in columns}
        self._computed = {}
        self.runtime, self.columns = runtime, columns

    @property
    def _pushed(self) -> bool:
        return any(self._pushes.values())

    def predict(self, *, at_s: float | None = None, proba: bool = False) -> Prediction:
        """The answer for what is in the windows.

        Args:
            at_s: When, the time of the last values by default.
            proba: Also give the probability of each class.
        """
        now = self._now if at_s is None else float(at_s)
        cells, stamps = self._cells(now)
        runtime = self.runtime
        encoded: dict[str, EncodedField] = {}
        warnings: list[str] = []
        wanted = {item.name: tuple(stamps[column] for column in item.columns) for item in runtime.schema.inputs}
        before = {name: item.stamps for name, item in self._computed.items()}
        changed = {name: stamp for name, stamp in wanted.items() if before.get(name) != stamp}
        if changed:
            self._compute(changed, cells)
        for name in runtime.fields:
            encoded[name] = self._computed[name].encoded
            warnings += self._computed[name].warnings
        (answer,) = make_predictions(
            runtime.graphs.fuse(encoded),
            runtime.readouts,
            row_ids=[0],
            warnings=[warnings],
            model_id=runtime.model_id,
            proba=proba,
            ids=[{}],
        )
        return answer

    def _cells(self, now: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """Column to its cell at a time, and to what changes whenever the cell does."""
        cells: dict[str, Any] = {}
        stamps: dict[str, Any] = {}
        for name, modality in self.columns.items():
            window = self._windows.get(name)
            if window is not None and name not in self._held:
                cells[name] = window.cell(now)
                stamps[name] = (self._pushes[name], window.oldest_s)
                continue
            since, value = self._held.get(name, (0.0, None))
            gone = modality is Modality.IMAGE and since < now - self.window_s
            cells[name] = None if gone else value
            stamps[name] = (self._pushes[name], gone)
        return cells, stamps

    def _compute(self, changed: Mapping[str, tuple[Any, ...]], cells: Mapping[str, Any]) -> None:
        """Decode and encode inputs anew."""
        runtime = self.runtime
        schema = runtime.schema
        inputs = [item for item in schema.inputs if item.name in changed]
        read = {column for item in inputs for column in item.columns}
        row = {name: cells[name] if name in read else None for name in self.columns}
        table = open_table([row], media_root=self.media_root)
        fields = tuple(item for item in schema.fields if item.source in read)
        found = decode(
            table,
            replace(schema, fields=fields),
            {item.name: runtime.preprocessors[item.name] for item in inputs},
            confined=self.media_root is not None,
            num_workers=0,
        )
        for item in inputs:
            words = [f"{bad.field}: {bad.reason}" for bad in found.bad if bad.field in (item.name, *item.columns)]
            words += [f"{remark.field}: {remark.text}" for remark in found.packs[item.name].remarks]
            encoded = runtime.graphs.encode(item.name, found.packs[item.name].take(np.arange(1)))
            self._computed[item.name] = _Computed(changed[item.name], encoded, tuple(words))
            self.num_encoded += 1


def _need_no_history(runtime: Runtime) -> None:
    if runtime.schema.history is not None:
        raise InputError(
            "the model reads earlier rows, which a session does not keep",
            fix="Call predict(rows, history=EARLIER_ROWS) instead",
        )


def _windows(columns: Mapping[str, Modality], window_s: float, rates_hz: Mapping[str, int]) -> dict[str, Window]:
    """Column to its window, for those that grow."""
    for name, rate in rates_hz.items():
        if columns.get(name) is not Modality.AUDIO:
            sounds = [item for item, found in columns.items() if found is Modality.AUDIO]
            raise InputError(f"'{name}' is no sound of the model", fix=did_you_mean(name, sounds))
        if not 1 <= rate <= MOST_HERTZ:
            raise InputError(f"a rate of {rate} Hz for '{name}'", fix=f"Give one from 1 to {MOST_HERTZ}")
    found: dict[str, Window] = {}
    for name, modality in columns.items():
        if modality is Modality.AUDIO:
            found[name] = SoundWindow(rates_hz.get(name, DEFAULT_HERTZ), window_s)
        elif modality is Modality.VIDEO:
            found[name] = FrameWindow(window_s)
        elif modality is Modality.SERIES:
            found[name] = StepWindow(window_s)
    return found


def _is_part(window: Window, value: Any) -> bool:
    """Whether a value is to be added to a window; whole cells are not."""
    if isinstance(window, SoundWindow):
        return isinstance(value, bytes | np.ndarray)
    if isinstance(window, FrameWindow):
        return value is not None and not isinstance(value, str | Path | tuple) and np.ndim(value) != 4
    return value is not None and not isinstance(value, str | Path | bytes | np.ndarray)
