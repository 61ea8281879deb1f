"""How texts are written: which search, how many texts, how long, from which ids. No torch: settings alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from omnifuse.errors import InputError, did_you_mean

GREEDY, BEAM, SAMPLE = "greedy", "beam", "sample"
METHODS = (GREEDY, BEAM, SAMPLE)
MOST_BEAMS, MOST_LENGTH = 256, 65_536


@dataclass(frozen=True)
class Writing:
    """How texts are written.

    Attributes:
        method: "greedy" takes the likeliest id each time, "beam" keeps the likeliest texts, "sample" draws.
        beams: Texts that beam search keeps a row; it may be larger than the vocabulary.
        num: Texts that are given a row, best first; for "greedy" 1, for "beam" at most `beams`.
        length_power: A text's log-probability is divided by its number of ids to this power: 0 prefers short texts,
            1 compares means.
        temperature: Of sampling; below 1 surer, above 1 wilder.
        top_p: Sampling draws from the likeliest ids whose probabilities add up to this.
        seed: Of sampling; a row draws the same whatever rows are beside it.
        max_length: Most ids of a text; None takes the vocabulary's own.
        stop: Ids that end a text and stay in it, beside the end itself.
        ctc: Of a transcription, how much its CTC head counts beside the decoder, 0 to 1. A decoder needs many hours of
            speech before it finds its place in a sound by itself; CTC needs few.

    References: Wu et al. 2016, section 7 (length normalisation); Holtzman et al. 2020 (top-p); Watanabe et al. 2017
        (CTC and attention jointly).
    """

    method: str = BEAM
    beams: int = 4
    num: int = 1
    length_power: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    max_length: int | None = None
    stop: tuple[int, ...] = ()
    ctc: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.method not in METHODS:
            raise InputError(f"there is no way to write '{self.method}'", fix=did_you_mean(self.method, METHODS))
        limits = {
            "beams": (1, MOST_BEAMS),
            "num": (1, {GREEDY: 1, BEAM: self.beams, SAMPLE: MOST_BEAMS}[self.method]),
            "length_power": (0.0, 4.0),
            "temperature": (1e-3, 100.0),
            "top_p": (1e-6, 1.0),
            "seed": (0, 2**62),
            "max_length": (1, MOST_LENGTH),
            "ctc": (0.0, 1.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"{name} is {value} with the method {self.method}", fix=f"Give {low:g} to {high:g}")


@dataclass(frozen=True)
class Draft:
    """A text that a search found.

    Attributes:
        ids: Its ids, the end left out.
        log_probability: Natural logarithm, the end included.
        score: What texts of a row are ordered by: the log-probability over the length to a power.
        ended: Whether it came to its end, and was not cut at the longest length.
    """

    ids: tuple[int, ...]
    log_probability: float
    score: float
    ended: bool = True


@dataclass(frozen=True)
class Constraint:
    """Which ids may follow which: an automaton that starts at state 0.

    Attributes:
        following: (S, V) int32: the state behind each id, -1 where the id may not come.
    """

    following: np.ndarray = field(repr=False)

    @classmethod
    def of_ids(cls, allowed: Iterable[int], size: int) -> Constraint:
        """Only these ids may come, in any order.

        Example:
            >>> Constraint.of_ids([0, 2], 4).following.tolist()
            [[0, -1, 0, -1]]
        """
        following = np.full((1, size), -1, np.int32)
        following[0, sorted(set(allowed))] = 0
        return cls(following)

    @classmethod
    def of_texts(cls, texts: Sequence[Sequence[int]], size: int, *, end: int) -> Constraint:
        """Only these texts may be written, each with the end behind it.

        Args:
            texts: Ids of each.
            size: V.
            end: The id of the end.

        Raises:
            InputError: There is none.

        Example:
            >>> Constraint.of_texts([[2], [2, 3]], 4, end=0).following.tolist()
            [[-1, -1, 1, -1], [0, -1, -1, 2], [0, -1, -1, -1]]
        """
        if not texts:
            raise InputError("no text may be written", fix="Give at least one choice")
        rows = [np.full(size, -1, np.int32)]
        for ids in texts:
            state = 0
            for one in ids:
                if rows[state][one] < 0:
                    rows[state][one] = len(rows)
                    rows.append(np.full(size, -1, np.int32))
                state = int(rows[state][one])
            # Nothing follows the end, so it may lead anywhere
            rows[state][end] = 0
        return cls(np.stack(rows))
