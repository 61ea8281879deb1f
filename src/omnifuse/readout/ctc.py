"""Transcripts from the frame-wise outputs of CTC: greedily, or by a beam search over prefixes with language models.

A prefix is a text as far as it has been read. All paths of tokens and blanks that give the same prefix are added up, so
the score of a hypothesis is the logarithm of its probability (of what was not pruned) plus what the scorers add.

References: Graves et al. 2006, Connectionist Temporal Classification; Hannun et al. 2014, First-Pass Large Vocabulary
Continuous Speech Recognition using Bi-Directional Recurrent DNNs (algorithm 1, with logarithms, and merging through the
tree of prefixes).

Shapes: B sounds, F frames, V tokens, K prefixes in the beam, C tokens considered at a frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from omnifuse.data.bpe import BLANK_ID, END_ID, SPACE, START_ID
from omnifuse.errors import InputError
from omnifuse.readout.ctc_alignment import align
from omnifuse.readout.scorers import Scorer
from omnifuse.readout.words import Word, confidence_of, piece_text, words_of


@dataclass(frozen=True)
class Hypothesis:
    """One possible transcript.

    Attributes:
        text: Words with single blanks between them.
        tokens: Ids.
        score: Acoustic score and what the scorers add; the best hypothesis has the highest.
        acoustic: Natural logarithm of the probability of the tokens given the sound.
        words: With times and confidences; empty where they were not asked for.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    acoustic: float
    words: tuple[Word, ...] = ()

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the words' confidences; None without words."""
        return confidence_of(self.words)


class Prefix:
    """A node of the tree of prefixes; it lives as long as the beam or a longer prefix needs it.

    Attributes:
        serial: Tells prefixes apart, also those that are gone.
        parent: The prefix without its last token; None at the root.
        token: The last token, -1 where there is none.
        state: Of the scorer.
        added: What the scorer has added so far.
        born: Number of the frame at which it last entered the beam.
    """

    __slots__ = ("__weakref__", "added", "born", "parent", "serial", "state", "token")

    def __init__(self, serial: int, parent: Prefix | None, token: int, state: Any, added: float, born: int) -> None:
        self.serial, self.parent, self.token = serial, parent, token
        self.state, self.added, self.born = state, added, born

    def tokens(self) -> list[int]:
        """Tokens from the root, whose own is left out."""
        found = []
        node = self
        while node.parent is not None:
            found.append(node.token)
            node = node.parent
        return found[::-1]


@dataclass
class BeamState:
    """Where a search stands between two frames.

    Attributes:
        prefixes: K prefixes, best first.
        blank: (K,) logarithms of the paths that end in a blank.
        other: (K,) of those that end in the last token.
        frames: Number of frames read.
    """

    prefixes: list[Prefix]
    blank: np.ndarray
    other: np.ndarray
    frames: int = 0
    known: WeakValueDictionary[tuple[int, int], Prefix] = field(default_factory=WeakValueDictionary)
    serials: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def acoustic(self) -> np.ndarray:
        """(K,) logarithms of the prefixes' probabilities."""
        return np.asarray(np.logaddexp(self.blank, self.other))


@dataclass(frozen=True)
class CtcBeamSearch:
    """Beam search over prefixes.

    Args:
        pieces: Text of each of the V tokens; a word starts where one starts with `SPACE`.
        scorer: Language models and phrases; None for the acoustic score alone.
        beam_width: Prefixes that are kept.
        max_tokens: Tokens that are considered at a frame, at most.
        token_floor: Tokens less probable than this share of the best one of a frame are not considered.
        beam_drop: Prefixes that lie this far below the best are dropped.
        blank: Id of the blank.
        banned: Ids that are never part of a transcript.

    Example:
        >>> search = CtcBeamSearch(["[BLANK]", "[UNK]", "[START]", "[END]", "a", "b"])
        >>> log_probs = np.log(np.eye(6)[[4, 4, 0, 4, 5]] * 0.94 + 0.01)
        >>> search.search(log_probs)[0].text
        'aab'
    """

    pieces: Sequence[str]
    scorer: Scorer | None = None
    beam_width: int = 16
    max_tokens: int = 40
    token_floor: float = 1e-4
    beam_drop: float = 14.0
    blank: int = BLANK_ID
    banned: tuple[int, ...] = (START_ID, END_ID)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.beam_width < 1 or self.max_tokens < 1 or self.beam_drop <= 0 or not 0 <= self.token_floor < 1:
            raise InputError(
                f"a beam of width {self.beam_width}, {self.max_tokens} tokens, floor {self.token_floor} and drop "
                f"{self.beam_drop} finds nothing",
                fix="Give a width and a number of tokens of at least 1, a floor from 0 to 1 and a drop above 0",
            )

    def start(self) -> BeamState:
        """The state before the first frame."""
        state = None if self.scorer is None else self.scorer.start()
        return BeamState([Prefix(0, None, -1, state, 0.0, 0)], np.zeros(1), np.full(1, -np.inf))

    def advance(self, state: BeamState, log_probs: np.ndarray) -> BeamState:
        """Read some frames.

        Args:
            state: Is changed.
            log_probs: (F, V) natural logarithms of probabilities; F = 0 is legal.

        Returns:
            The same state.

        Raises:
            InputError: The array has another width than there are pieces, or holds NaN.
        """
        logs = self.checked(log_probs)
        for row, tokens in zip(logs, self._candidates(logs), strict=True):
            self._step(state, row, tokens)
            state.frames += 1
        return state

    def finish(self, state: BeamState, num: int = 1) -> list[Hypothesis]:
        """The best hypotheses of a state, which is left as it is, best first, without words."""
        acoustic = state.acoustic()
        ends = np.array([0.0 if self.scorer is None else self.scorer.finish(one.state) for one in state.prefixes])
        scores = acoustic + np.array([one.added for one in state.prefixes]) + ends
        found = []
        for at in np.argsort(-scores, kind="stable")[: max(1, num)]:
            tokens = tuple(state.prefixes[at].tokens())
            found.append(Hypothesis(self.text(tokens), tokens, float(scores[at]), float(acoustic[at])))
        return found

    def search(
        self, log_probs: np.ndarray, *, num: int = 1, frame_s: float | None = None, offset_s: float = 0.0
    ) -> list[Hypothesis]:
        """Transcribe one sound.

        Args:
            log_probs: (F, V).
            num: Hypotheses asked for; fewer are given where the beam holds fewer.
            frame_s: Seconds from one frame to the next; with it, hypotheses have words with times.
            offset_s: Time of the first frame.

        Returns:
            At least one hypothesis, best first; that of no frames is empty.
        """
        found = self.finish(self.advance(self.start(), log_probs), num)
        if frame_s is None:
            return found
        return [self.timed(one, log_probs, frame_s, offset_s) for one in found]

    def search_batch(
        self, log_probs: np.ndarray, lengths: Sequence[int], *, num: int = 1, frame_s: float | None = None
    ) -> list[list[Hypothesis]]:
        """Transcribe B sounds: (B, F, V), of which only the first `lengths` frames of each are read."""
        return [
            self.search(one[:length], num=num, frame_s=frame_s) for one, length in zip(log_probs, lengths, strict=True)
        ]

    def timed(self, found: Hypothesis, log_probs: np.ndarray, frame_s: float, offset_s: float = 0.0) -> Hypothesis:
        """The hypothesis with words."""
        spans = align(log_probs, found.tokens, blank=self.blank)
        words = words_of(found.tokens, spans, self.pieces, frame_s=frame_s, offset_s=offset_s)
        return Hypothesis(found.text, found.tokens, found.score, found.acoustic, words)

    def text(self, tokens: Sequence[int]) -> str:
        """Words of tokens with single blanks between them."""
        joined = "".join(piece_text(self.pieces, token) for token in tokens)
        return " ".join(joined.replace(SPACE, " ").split())

    def checked(self, log_probs: np.ndarray) -> np.ndarray:
        """The scores of frames (F, V) as float64.

        Raises:
            InputError: The array has another width than there are pieces, or holds NaN.
        """
        logs = np.asarray(log_probs, np.float64)
        if logs.ndim != 2 or logs.shape[1] != len(self.pieces):
            raise InputError(f"scores of shape {logs.shape} are not (frames, {len(self.pieces)} tokens)")
        if np.isnan(logs).any():
            raise InputError("the scores of the frames hold NaN", fix="Look for a damaged sound or model")
        return logs

    def _candidates(self, logs: np.ndarray) -> list[np.ndarray]:
        """Of each frame the ids of the tokens that are considered."""
        allowed = np.ones(logs.shape[1], bool)
        allowed[[index for index in self.banned if index < logs.shape[1]]] = False
        best = logs[:, allowed].max(axis=1, keepdims=True, initial=-np.inf)
        lowest = best + np.log(self.token_floor) if self.token_floor > 0 else np.full_like(best, -np.inf)
        allowed[self.blank] = False
        wanted = (logs >= lowest) & (logs > -np.inf) & allowed
        if self.max_tokens < logs.shape[1]:
            order = np.argsort(np.where(wanted, -logs, np.inf), axis=1, kind="stable")
            wanted[np.arange(len(logs))[:, None], order[:, self.max_tokens :]] = False
        counts = wanted.sum(axis=1)
        return np.split(wanted.nonzero()[1], np.cumsum(counts)[:-1]) if len(logs) else []

    def _step(self, state: BeamState, logs: np.ndarray, tokens: np.ndarray) -> None:
        prefixes, blank, other = state.prefixes, state.blank, state.other
        last = np.array([prefix.token for prefix in prefixes])
        total = np.logaddexp(blank, other)
        new_blank = total + logs[self.blank]
        new_other = other + np.where(last >= 0, logs[last], -np.inf)
        added = np.array([prefix.added for prefix in prefixes])
        if not len(tokens):
            self._keep(state, np.arange(len(prefixes)), new_blank, new_other, added)
            return
        # A token that repeats the last one makes a longer prefix only behind a blank
        before = np.where(last[:, None] == tokens, blank[:, None], total[:, None])
        longer = before + logs[tokens]
        place = {prefix.serial: number for number, prefix in enumerate(prefixes)}
        column = {int(token): number for number, token in enumerate(tokens)}
        for number, prefix in enumerate(prefixes):
            if prefix.parent is not None and prefix.token in column:
                row = place.get(prefix.parent.serial)
                if row is not None:
                    at = column[prefix.token]
                    new_other[number] = np.logaddexp(new_other[number], longer[row, at])
                    longer[row, at] = -np.inf
        gains = np.broadcast_to(added[:, None], longer.shape)
        if self.scorer is not None:
            gains = gains + np.stack([self.scorer.row(prefix.state)[tokens] for prefix in prefixes])
        scores = np.concatenate([np.logaddexp(new_blank, new_other) + added, (longer + gains).ravel()])
        order = np.argsort(-scores, kind="stable")[: self.beam_width]
        order = order[(scores[order] >= scores[order[0]] - self.beam_drop) & (scores[order] > -np.inf)]
        if not len(order):
            # Every path is impossible: the frame says nothing
            return
        self._grow(state, order, tokens, (new_blank, new_other, longer, gains))

    def _keep(
        self, state: BeamState, order: np.ndarray, blank: np.ndarray, other: np.ndarray, added: np.ndarray
    ) -> None:
        """No prefix grows."""
        scores = np.logaddexp(blank, other) + added
        kept = order[(scores >= scores.max() - self.beam_drop) & (scores > -np.inf)]
        if len(kept):
            kept = kept[np.argsort(-scores[kept], kind="stable")]
            state.prefixes = [state.prefixes[number] for number in kept]
            state.blank, state.other = blank[kept], other[kept]

    def _grow(self, state: BeamState, order: np.ndarray, tokens: np.ndarray, parts: tuple[np.ndarray, ...]) -> None:
        """Take the chosen prefixes: numbers below K are old ones, others an old one and a token."""
        blank, other, longer, gains = parts
        count, width = longer.shape
        chosen: list[Prefix] = []
        new_blank, new_other = np.full(len(order), -np.inf), np.empty(len(order))
        for at, number in enumerate(order.tolist()):
            if number < count:
                chosen.append(state.prefixes[number])
                new_blank[at], new_other[at] = blank[number], other[number]
                continue
            row, column = divmod(number - count, width)
            chosen.append(self._child(state, state.prefixes[row], int(tokens[column]), float(gains[row, column])))
            new_other[at] = longer[row, column]
        state.prefixes, state.blank, state.other = chosen, new_blank, new_other

    def _child(self, state: BeamState, parent: Prefix, token: int, added: float) -> Prefix:
        """The prefix with one more token; there is never a second one of the same text."""
        key = (parent.serial, token)
        child = state.known.get(key)
        if child is None:
            scored = None if self.scorer is None else self.scorer.advance(parent.state, token)
            child = Prefix(next(state.serials), parent, token, scored, added, state.frames)
            state.known[key] = child
        else:
            child.born = state.frames
        return child


def greedy(log_probs: np.ndarray, lengths: Sequence[int] | None = None, *, blank: int = BLANK_ID) -> list[list[int]]:
    """The tokens of the best path of each sound: the best token of each frame, repeats and blanks left out.

    Args:
        log_probs: (B, F, V), logits will do.
        lengths: B numbers of frames that count; all where not given.
        blank: Id of the blank.

    Example:
        >>> greedy(np.eye(3)[[[1, 1, 0, 1, 2]]])
        [[1, 1, 2]]
    """
    logs = np.asarray(log_probs)
    if logs.ndim != 3:
        raise InputError(f"scores of shape {logs.shape} are not (sounds, frames, tokens)")
    num_sounds, num_frames = logs.shape[:2]
    if not num_sounds or not num_frames:
        return [[] for _ in range(num_sounds)]
    best = logs.argmax(axis=2)
    kept = best != blank
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    if lengths is not None:
        kept &= np.arange(num_frames) < np.asarray(lengths)[:, None]
    return [one[there].tolist() for one, there in zip(best, kept, strict=True)]
