"""Transcripts while the sound is still coming: words that are final never change, the others are shown as they stand.

A word is final when every prefix in the beam agrees on it and the next word has begun, for then no later sound can
change it; when those that disagree are hopeless, or it was said so long ago that waiting is worse than being wrong; or
when it is followed by a silence. Of prefixes that differ in words which no longer matter to the future, the best alone
is kept, so that they agree soon. Memory stays bounded: frames and prefixes of final words are forgotten.

References: Selfridge et al. 2011, Stability and Accuracy in Incremental Speech Recognition (words on which all paths
agree).

Shapes: F frames, V tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnifuse.data.bpe import SPACE
from omnifuse.errors import InputError
from omnifuse.readout.ctc import CtcBeamSearch, Prefix
from omnifuse.readout.ctc_alignment import align, fewest_frames
from omnifuse.readout.words import Span, Word, piece_text, words_of

# Whether a word is final by its age is asked at every so many frames, wherever the sound is cut into parts
_EVERY = 8
# A blank more probable than this is silence, or the inside of a sound that was already read
_QUIET = float(np.log(0.5))
# A prefix this far below the best, in logarithms, is not waited for
_HOPELESS = float(np.log(100.0))
# Frames that are kept at most, in times of the longest delay
_LONGEST = 8


@dataclass(frozen=True)
class Partial:
    """What is known after some more sound.

    Attributes:
        final: Words that have become final just now.
        pending: Words behind all final ones, which may still change.
        time_s: Up to which the sound was read.
    """

    final: tuple[Word, ...]
    pending: tuple[Word, ...]
    time_s: float


class CtcStream:
    """A beam search that is fed with frames as they come.

    How the frames are cut into parts makes no difference to the words.

    Args:
        search: The beam search, with its scorers.
        frame_s: Seconds from one frame to the next.
        doubt_s: Words that were complete longer ago become final where prefixes that disagree have less than a
            hundredth of the best one's probability.
        max_delay_s: Words that were complete longer ago become final whatever others say.
        silence_s: A silence of this length makes all words final.
    """

    def __init__(
        self,
        search: CtcBeamSearch,
        frame_s: float,
        *,
        doubt_s: float = 1.0,
        max_delay_s: float = 5.0,
        silence_s: float = 0.8,
    ) -> None:
        if min(frame_s, doubt_s, max_delay_s, silence_s) <= 0:
            given = f"{frame_s}, {doubt_s}, {max_delay_s} and {silence_s}"
            raise InputError(f"times must be above 0, received {given} seconds")
        self.search, self.frame_s = search, frame_s
        self._max_delay, self._doubt = max(1, round(max_delay_s / frame_s)), max(1, round(doubt_s / frame_s))
        self._max_quiet = max(1, round(silence_s / frame_s))
        self._state = search.start()
        self._frames: list[np.ndarray] = []
        self._first = 0
        self._quiet = 0
        self._fresh: list[Word] = []
        self._ended = False

    def push(self, log_probs: np.ndarray) -> Partial:
        """Read more frames.

        Args:
            log_probs: (F, V) natural logarithms; F = 0 is legal and tells what stands.

        Raises:
            InputError: As for `CtcBeamSearch.advance`, or the stream was ended.
        """
        if self._ended:
            raise InputError("the stream has ended", fix="Start a new one for more sound")
        for row in self.search.checked(log_probs):
            self._read(row)
        return self._partial(self._pending())

    def finish(self) -> Partial:
        """The sound has ended, perhaps in the middle of a word: all words are final."""
        if not self._ended:
            self._ended = True
            best = self.search.finish(self._state)[0].tokens
            self._fresh.extend(self._timed(best, self._aligned(best)))
        return self._partial(())

    def _partial(self, pending: tuple[Word, ...]) -> Partial:
        final, self._fresh = tuple(self._fresh), []
        return Partial(final, pending, self._state.frames * self.frame_s)

    def _read(self, row: np.ndarray) -> None:
        self.search.advance(self._state, row[None])
        self._frames.append(row)
        self._quiet = self._quiet + 1 if row[self.search.blank] > _QUIET else 0
        # Without a space for very long, as in a language that writes none, silence is not waited for
        if self._quiet >= self._max_quiet or len(self._frames) >= _LONGEST * self._max_delay:
            self._close()
        elif self._state.frames % _EVERY == 0:
            self._recombine()
            self._force(self._doubt, _HOPELESS)
            self._force(self._max_delay, 0.0)
            self._settle(self._agreed())

    def _scores(self) -> np.ndarray:
        return np.asarray(self._state.acoustic() + np.array([prefix.added for prefix in self._state.prefixes]))

    def _best(self) -> Prefix:
        return self._state.prefixes[int(self._scores().argmax())]

    def _pending(self) -> tuple[Word, ...]:
        tokens = self._best().tokens()
        return self._timed(tokens, self._aligned(tokens))

    def _aligned(self, tokens: Sequence[int]) -> list[Span]:
        count = len(self._frames)
        if fewest_frames(tokens) > count:
            # The rest of the beam may disagree with the final words about when they ended
            edges = [number * count // max(1, len(tokens)) for number in range(len(tokens) + 1)]
            return [Span(one, max(one, two - 1), 0.0) for one, two in itertools.pairwise(edges)]
        return align(np.array(self._frames), tokens, blank=self.search.blank) if tokens else []

    def _timed(self, tokens: Sequence[int], spans: Sequence[Span]) -> tuple[Word, ...]:
        offset_s = self._first * self.frame_s
        return words_of(tokens, spans, self.search.pieces, frame_s=self.frame_s, offset_s=offset_s)

    def _agreed(self) -> Prefix | None:
        """The longest prefix of all prefixes of the beam that ends before the start of a word."""
        paths = [_path(prefix) for prefix in self._state.prefixes]
        shared = 0
        shortest = min(map(len, paths))
        while shared < shortest and all(path[shared] is paths[0][shared] for path in paths):
            shared += 1
        return self._before_word(paths[0][:shared])

    def _before_word(self, path: Sequence[Prefix]) -> Prefix | None:
        """The last node of a path behind which a word starts, while there is one before it."""
        for number in range(len(path) - 1, 1, -1):
            if self._starts(path[number]) and any(self._says(node) for node in path[1:number]):
                return path[number - 1]
        return None

    def _starts(self, prefix: Prefix) -> bool:
        return piece_text(self.search.pieces, prefix.token).startswith(SPACE)

    def _says(self, prefix: Prefix) -> bool:
        return bool(piece_text(self.search.pieces, prefix.token).removeprefix(SPACE))

    def _recombine(self) -> None:
        """Of prefixes with the same future, keep the best.

        Whatever comes is added alike to those with the same last word and the same state of the scorer.
        """
        known, kept = set(), []
        for number in np.argsort(-self._scores(), kind="stable").tolist():
            prefix = self._state.prefixes[number]
            key = (prefix.state, self._last_word(prefix))
            if key not in known:
                known.add(key)
                kept.append(number)
        self._choose(kept)

    def _last_word(self, prefix: Prefix) -> tuple[int, ...]:
        """Tokens from the start of the last word on, or from the root."""
        found: list[int] = []
        node = prefix
        while node.parent is not None:
            found.append(node.token)
            if self._starts(node):
                break
            node = node.parent
        return tuple(found)

    def _force(self, age: int, drop: float) -> None:
        """Drop prefixes that lie so far below the best one and disagree with it about words of so many frames ago."""
        path = _path(self._best())
        old = list(itertools.takewhile(lambda node: self._state.frames - node.born > age, path[1:]))
        end = self._before_word([path[0], *old])
        if end is not None:
            scores = self._scores()
            near = scores > scores.max() - drop
            prefixes = self._state.prefixes
            self._choose([n for n, prefix in enumerate(prefixes) if near[n] or end in _path(prefix)])

    def _settle(self, root: Prefix | None) -> None:
        """Make the words up to a common prefix final, and forget the frames and prefixes of before."""
        if root is None:
            return
        tokens = self._best().tokens()
        spans = self._aligned(tokens)
        count = len(root.tokens())
        self._fresh.extend(self._timed(tokens[:count], spans[:count]))
        self._forget(root, spans[count - 1].last + 1)

    def _forget(self, root: Prefix, frames: int) -> None:
        root.parent = None
        self._frames = self._frames[frames:]
        self._first += frames

    def _close(self) -> None:
        """A silence: all words are final, what comes is a new word."""
        best = self._best()
        tokens = best.tokens()
        self._fresh.extend(self._timed(tokens, self._aligned(tokens)))
        place = next(number for number, prefix in enumerate(self._state.prefixes) if prefix is best)
        self._choose([place])
        self._forget(best, len(self._frames))

    def _choose(self, numbers: list[int]) -> None:
        state = self._state
        state.prefixes = [state.prefixes[number] for number in numbers]
        state.blank, state.other = state.blank[numbers], state.other[numbers]


def _path(prefix: Prefix) -> list[Prefix]:
    """The nodes from the root to a prefix, both included."""
    found: list[Prefix] = []
    node: Prefix | None = prefix
    while node is not None:
        found.append(node)
        node = node.parent
    return found[::-1]
