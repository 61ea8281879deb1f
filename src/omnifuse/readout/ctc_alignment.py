"""Where in time each token of a transcript stands: the best path of CTC through the frames.

References: Graves et al. 2006, Connectionist Temporal Classification, section 4 (the lattice); Viterbi 1967.

Shapes: F frames, V tokens, N tokens of the transcript.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from omnifuse.data.bpe import BLANK_ID
from omnifuse.errors import InputError
from omnifuse.readout.words import Span


def fewest_frames(tokens: Sequence[int]) -> int:
    """Frames that a transcript needs at least: one a token, and a blank between two equal ones."""
    return len(tokens) + sum(one == two for one, two in itertools.pairwise(tokens))


def align(log_probs: np.ndarray, tokens: Sequence[int], *, blank: int = BLANK_ID) -> list[Span]:
    """The frames of each token on the most probable path.

    Args:
        log_probs: (F, V) natural logarithms of the tokens' probabilities.
        tokens: N ids, without blanks.
        blank: Id of the blank.

    Returns:
        One span a token, in order, none overlapping.

    Raises:
        InputError: There are too few frames for so many tokens.

    Example:
        >>> sure = np.log(np.eye(3)[[0, 1, 1, 0, 2]] + 1e-9)
        >>> [(span.first, span.last) for span in align(sure, [1, 2])]
        [(1, 2), (4, 4)]
    """
    if not len(tokens):
        return []
    num_frames = len(log_probs)
    if fewest_frames(tokens) > num_frames:
        raise InputError(
            f"a transcript of {len(tokens)} tokens does not fit into {num_frames} frames",
            fix="Shorten the text, or reduce the subsampling of frames",
        )
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    steps = _best_steps(np.asarray(log_probs, np.float64)[:, states], states)
    ends: list[list[int]] = [[num_frames, -1] for _ in tokens]
    state, at = int(steps[-1]), num_frames - 1
    path = steps[:-1].reshape(num_frames, len(states))
    while at >= 0:
        if state % 2:
            own = ends[state // 2]
            own[0], own[1] = at, max(own[1], at)
        state -= int(path[at, state])
        at -= 1
    logs = np.asarray(log_probs, np.float64)
    return [
        Span(first, last, float(logs[first : last + 1, token].max()))
        for (first, last), token in zip(ends, tokens, strict=True)
    ]


def _best_steps(emitted: np.ndarray, states: np.ndarray) -> np.ndarray:
    """int8 or int64 (F * S + 1,): of each frame and state by how many states the best path came up, then the last
    state.
    """
    num_frames, num_states = emitted.shape
    # A token may follow the one before it without a blank, unless they are equal
    skips = np.zeros(num_states, bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(num_states, -np.inf)
    score[: min(2, num_states)] = emitted[0, : min(2, num_states)]
    steps = np.zeros((num_frames, num_states), np.int8)
    choices = np.full((3, num_states), -np.inf)
    for frame in range(1, num_frames):
        choices[0] = score
        choices[1, 1:] = score[:-1]
        choices[2, 2:] = np.where(skips[2:], score[:-2], -np.inf)
        best = choices.argmax(axis=0)
        steps[frame] = best
        score = choices[best, np.arange(num_states)] + emitted[frame]
    last = num_states - 1 if score[-1] >= score[-2] else num_states - 2
    return np.concatenate([steps.ravel().astype(np.int64), [last]])
