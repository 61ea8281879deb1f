"""Transcripts while the sound is still coming: the last seconds are encoded again and again, each token is read once.

The encoder looks both ways, so a token is read when some sound behind it is there. Memory and time a step are bounded
by the length of the window.

Shapes: S samples, T tokens, V ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.transcribing import SUBSAMPLING, Listener, speech_options
from omnifuse.data.bpe import BLANK_ID
from omnifuse.errors import InputError
from omnifuse.readout.ctc_stream import CtcStream, Partial

if TYPE_CHECKING:
    from omnifuse.api.model import Model

# Of a token where nobody speaks
_SILENT = 0.999


class SpeechStream:
    """One sound that comes in parts.

    The first network alone listens, and no decoder is asked: it needs the whole text.

    Args:
        model: The model.
        target: The transcript; the first by default.
        cells: Of the other columns, such as a text of context.
        step_s: The sound is listened to each time so much of it has come.
        ahead_s: A token is read when so much sound behind it is there.
        speech_only: Do not listen where there is no voice.
        **options: As for `Model.transcribe`.

    Example:
        >>> stream = SpeechStream(model)  # doctest: +SKIP
        >>> stream.push(samples).pending, stream.finish().final  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Model,
        *,
        target: str | None = None,
        cells: Mapping[str, Any] | None = None,
        step_s: float = 0.24,
        ahead_s: float = 0.24,
        speech_only: bool = True,
        **options: Any,
    ) -> None:
        if not 0.02 <= step_s <= 5 or not 0 <= ahead_s <= 2:
            raise InputError(f"a step of {step_s} s and {ahead_s} s ahead", fix="Give 0.02 to 5 s, and 0 to 2 s ahead")
        self.listener = Listener(model, target=target, options=speech_options(options), speech_only=speech_only)
        own = self.listener
        self.rate_hz, self.notes = own.rate_hz, own.notes
        self._stream = CtcStream(own.search, own.frame_s)
        self._cells = dict(cells or {})
        # Samples of a token
        self._token: int = SUBSAMPLING * max(1, round(own.audio.hop_s * own.rate_hz))
        self._step, self._ahead = round(step_s * own.rate_hz), round(ahead_s * own.rate_hz)
        self._window = max(round(own.window_s * own.rate_hz) // self._token, 2) * self._token
        self._held = np.zeros(0, np.float32)
        # Number of the first token that is held, of the next one to read, and of the sample up to which was listened
        self._first, self._next, self._listened = 0, 0, 0

    @property
    def _count(self) -> int:
        return int(self._first * self._token) + len(self._held)

    def push(self, samples: np.ndarray) -> Partial:
        """More sound.

        Args:
            samples: (S,) at `rate_hz`, full scale 1; S = 0 is legal and tells what stands.

        Raises:
            InputError: The stream was ended, or the samples are not one row.
        """
        sound = np.asarray(samples)
        if sound.ndim != 1 or sound.dtype.kind != "f":
            raise InputError(f"the samples are {sound.dtype} {sound.shape}", fix="Give floats (samples,), full scale 1")
        found = [self._stream.push(self._nothing())]
        for begin in range(0, len(sound), self._step):
            self._held = np.concatenate([self._held, sound[begin : begin + self._step].astype(np.float32)])
            if self._count - self._listened >= self._step:
                found.append(self._listen(self._count - self._ahead))
        return _joined(found)

    def finish(self) -> Partial:
        """The sound has ended: all words are final."""
        found = [self._listen(self._count + self._token)]
        return _joined([*found, self._stream.finish()])

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self.listener.text.vocab_size))

    def _listen(self, until: int) -> Partial:
        """Read the tokens that end before a sample."""
        self._listened = self._count
        wanted = until // self._token - self._next
        if wanted <= 0 or not len(self._held):
            return self._stream.push(self._nothing())
        place = self._next - self._first
        logs = self._logs()[place : place + wanted]
        self._next += len(logs)
        found = self._stream.push(logs)
        # The next window ends later and is no longer than others; no token is lost
        spare = min(max(0, (len(self._held) + self._step - self._window) // self._token), self._next - self._first)
        self._held, self._first = self._held[spare * self._token :], self._first + spare
        return found

    def _logs(self) -> np.ndarray:
        """Log-probabilities (T, V) of the tokens that are held."""
        from omnifuse.training.generate import ctc_frames

        own = self.listener
        if own.has_voice(self._held):
            decoded = own.rows([self._held], self._cells, confined=False, root=None)
            return ctc_frames(own.model.members[:1], decoded.packs, np.arange(1), own.target)[0]
        rest = (1 - _SILENT) / max(1, own.text.vocab_size - 1)
        logs = np.full((-(-len(self._held) // self._token), own.text.vocab_size), np.log(rest))
        logs[:, BLANK_ID] = np.log(_SILENT)
        return logs


def _joined(parts: list[Partial]) -> Partial:
    """What several parts made final, and what stands now."""
    final = tuple(word for part in parts for word in part.final)
    return Partial(final, parts[-1].pending, parts[-1].time_s)
