"""Phrases that are listened for, such as rare names: a scorer that favours texts which hold them.

References: Aho and Corasick 1975, Efficient String Matching (falling back from one phrase to another).

Shapes: V tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from omnifuse.data.bpe import NUM_SPECIAL, SPACE
from omnifuse.errors import InputError
from omnifuse.readout.scorers import StateRows


class PhraseScorer:
    """A bonus for phrases that are expected, such as rare names; what was given for the start of a phrase is taken back
    where it goes on otherwise.

    State: the node in the prefix tree of the phrases, which are whole words.

    Args:
        phrases: Texts, normalised as the transcripts are.
        pieces: Text of each token.
        boost: Added for each character of a phrase, the space behind it included, in natural logarithms.

    Raises:
        InputError: A phrase is empty.
    """

    def __init__(self, phrases: Iterable[str], pieces: Sequence[str], *, boost: float = 1.0) -> None:
        self.boost = boost
        self._texts = ["" if number < NUM_SPECIAL else piece for number, piece in enumerate(pieces)]
        self._texts[1] = "\ufffd"
        self._children: list[dict[str, int]] = [{}]
        self._depth, self._kept, self._ends = [0], [0], [False]
        for phrase in phrases:
            words = phrase.split()
            if not words:
                raise InputError("a phrase to listen for is empty", fix="Give one phrase a line, without empty ones")
            self._insert(SPACE + SPACE.join(words) + SPACE)
        self._fill()
        self._by_first: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(self._texts):
            if text:
                self._by_first[text[0]].append(index)
        self._rows = StateRows()
        self._root_row = np.array([self._walk(0, text)[1] for text in self._texts])

    def _insert(self, text: str) -> None:
        node = 0
        for character in text:
            following = self._children[node].get(character)
            if following is None:
                following = self._children[node][character] = len(self._children)
                self._children.append({})
                # The space before a phrase is worth nothing: every word has one
                self._depth.append(self._depth[node] + 1 if node else 0)
                self._kept.append(0)
                self._ends.append(False)
            node = following
        self._ends[node] = True

    def _fill(self) -> None:
        """Where each node falls back to, and for how many of its characters the bonus is safe; breadth first."""
        self._falls = [0] * len(self._children)
        queue = [0]
        for node in queue:
            for character, child in self._children[node].items():
                queue.append(child)
                fall = self._falls[node]
                while fall and character not in self._children[fall]:
                    fall = self._falls[fall]
                found = self._children[fall].get(character, 0)
                self._falls[child] = found if found != child else 0
                safe = max(self._kept[node], self._kept[self._falls[child]])
                self._kept[child] = self._depth[child] if self._ends[child] else safe

    def _held(self, node: int) -> float:
        """What was given for a start of a phrase that is not complete."""
        return self.boost * (self._depth[node] - self._kept[node])

    def _walk(self, node: int, text: str) -> tuple[int, float]:
        """The node behind some characters and what they add."""
        total = 0.0
        for character in text:
            while character not in self._children[node] and node:
                total += self._held(self._falls[node]) - self._held(node)
                node = self._falls[node]
            if character in self._children[node]:
                child = self._children[node][character]
                total += self.boost * (self._depth[child] - self._depth[node])
                node = child
        return node, total

    def start(self) -> Any:
        """As `Scorer`."""
        # As if a space were before the text
        return self._children[0].get(SPACE, 0)

    def row(self, state: Any) -> np.ndarray:
        """As `Scorer`."""
        known = self._rows.known.get(state)
        if known is not None:
            return known
        row = self._root_row - self._held(state)
        row[[not text for text in self._texts]] = 0.0
        # Only pieces that start as a phrase goes on here, or behind a node that this one falls back to, differ
        node = state
        while node:
            for character in self._children[node]:
                for index in self._by_first.get(character, ()):
                    row[index] = self._walk(state, self._texts[index])[1]
            node = self._falls[node]
        return self._rows.keep(state, row)

    def advance(self, state: Any, token: int) -> Any:
        """As `Scorer`."""
        return self._walk(state, self._texts[token])[0]

    def finish(self, state: Any) -> float:
        """As `Scorer`."""
        # The end of the text ends a word as a space does; what is then not complete is taken back
        node, total = self._walk(state, SPACE)
        return total - self._held(node)
