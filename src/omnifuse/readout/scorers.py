"""What a beam search adds to the acoustic score of a text as it grows: language models of tokens or of words.

A scorer has states that can be told apart and kept in a dictionary, and for each state a row with what every next token
adds. So the search asks for rows and never for single tokens, and a state that is met again costs nothing.

References: Graves and Jaitly 2014 (insertion bonus); Hori et al. 2017, Multi-Level Language Modeling and Decoding
(look-ahead of words in a prefix tree).

Shapes: V tokens.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from omnifuse.data.bpe import NUM_SPECIAL, SPACE
from omnifuse.readout.ngram import NgramModel
from omnifuse.readout.word_trie import PieceTree, WordTrie

_MOST_CELLS = 4_000_000


class Scorer(Protocol):
    """What is added to the score of a text."""

    def start(self) -> Any:
        """The state of the empty text."""
        ...

    def row(self, state: Any) -> np.ndarray:
        """float64 (V,): what each next token adds. Read only; the same state always gives the same row."""
        ...

    def advance(self, state: Any, token: int) -> Any:
        """The state after one more token."""
        ...

    def finish(self, state: Any) -> float:
        """What the end of the text adds."""
        ...


class StateRows:
    """Rows of states met lately, by state; never more than fit into 32 MB."""

    def __init__(self) -> None:
        self.known: dict[Hashable, np.ndarray] = {}

    def keep(self, state: Hashable, row: np.ndarray) -> np.ndarray:
        """Remember a row, which can no longer be changed, and give it back."""
        row.setflags(write=False)
        if len(self.known) * len(row) > _MOST_CELLS:
            self.known.clear()
        self.known[state] = row
        return row


class TokenScorer:
    """A language model of the very tokens that the search puts together.

    Args:
        model: Of sequences of pieces' texts.
        pieces: Text of each token.
        weight: Of the language model's natural logarithms.
        bonus: Added for each token: without it, a language model favours short texts.
    """

    def __init__(self, model: NgramModel, pieces: Sequence[str], *, weight: float = 0.5, bonus: float = 0.0) -> None:
        self.model, self.weight, self.bonus = model, weight, bonus
        self._ids = np.array([model.id_of(piece) if i >= NUM_SPECIAL else 0 for i, piece in enumerate(pieces)])
        self._rows = StateRows()

    def start(self) -> Any:
        """As `Scorer`."""
        return self.model.start

    def row(self, state: Any) -> np.ndarray:
        """As `Scorer`."""
        known = self._rows.known.get(state)
        if known is not None:
            return known
        return self._rows.keep(state, self.weight * self.model.scores(state)[self._ids] + self.bonus)

    def advance(self, state: Any, token: int) -> Any:
        """As `Scorer`."""
        return self.model.after(state, int(self._ids[token]))

    def finish(self, state: Any) -> float:
        """As `Scorer`."""
        return self.weight * self.model.score(state, 2)


class WordScorer:
    """A language model of words over tokens that are pieces of words.

    While a word is not complete, it counts as the most probable word that may come of it (by its frequency alone); when
    the next word starts, what was assumed is replaced by what the language model says of the whole word.

    State: (context of the language model, node of the prefix tree, whether a word has begun).

    Args:
        model: Of words.
        pieces: Text of each token; one that starts with `SPACE` starts a word.
        weight: Of the language model's natural logarithms.
        bonus: Added for each word.
        unknown: Added, beside the language model's own opinion of unknown words, for each word it does not know.
        look_ahead: Whether unfinished words count.
    """

    def __init__(
        self,
        model: NgramModel,
        pieces: Sequence[str],
        *,
        weight: float = 0.5,
        bonus: float = 0.5,
        unknown: float = -5.0,
        look_ahead: bool = True,
    ) -> None:
        self.model, self.weight, self.bonus, self.unknown = model, weight, bonus, unknown
        texts = ["" if number < NUM_SPECIAL else piece for number, piece in enumerate(pieces)]
        self._starts = np.array([text.startswith(SPACE) for text in texts])
        self._texts = [text.removeprefix(SPACE) for text in texts]
        # An unknown character belongs to a word that is not known
        self._adds = np.array([bool(text) for text in self._texts])
        self._adds[1] = True
        self._texts[1] = "\ufffd"
        single = model.scores(())
        words = {word: (number, float(single[number])) for number, word in enumerate(model.vocabulary) if number > 2}
        self._trie = WordTrie(words)
        self._inner = PieceTree([t if not s else "" for t, s in zip(self._texts, self._starts, strict=True)])
        self._first = PieceTree([t if s else "" for t, s in zip(self._texts, self._starts, strict=True)])
        self._assume_unknown = weight * float(single[0]) + unknown if look_ahead else unknown
        self._assumed = [weight * best if look_ahead else 0.0 for best in self._trie.best]
        self._assumed[0] = 0.0
        self._rows = StateRows()
        self._inner_rows, self._first_row = StateRows(), self._ahead(0, self._first, self._starts)

    def start(self) -> Any:
        """As `Scorer`."""
        return (self.model.start, 0, False)

    def _assumption(self, node: int) -> float:
        return self._assume_unknown if node < 0 else self._assumed[node]

    def _ahead(self, node: int, pieces: PieceTree, which: np.ndarray) -> np.ndarray:
        """(V,) what is assumed of the word behind a node and each piece; 0 for other pieces."""
        row = np.where(which & self._adds, self._assume_unknown, 0.0)
        if node >= 0:
            for index, behind in self._trie.leads(node, pieces):
                row[index] = self._assumed[behind]
        return row

    def _completed(self, context: tuple[int, ...], node: int, begun: bool) -> tuple[float, tuple[int, ...]]:
        """What a word adds when it is complete, in place of what was assumed, and the context behind it."""
        if not begun:
            return 0.0, context
        word = self._trie.word[node] if node >= 0 else -1
        number = max(word, 0)
        value = self.weight * self.model.score(context, number) + self.bonus + (0.0 if word >= 0 else self.unknown)
        return value - self._assumption(node), self.model.after(context, number)

    def row(self, state: Any) -> np.ndarray:
        """As `Scorer`."""
        known = self._rows.known.get(state)
        if known is not None:
            return known
        context, node, begun = state
        inner = self._inner_rows.known.get(node)
        if inner is None:
            inner = self._inner_rows.keep(node, self._ahead(node, self._inner, ~self._starts))
        row = np.where(self._adds, inner - self._assumption(node), 0.0)
        finished, _ = self._completed(context, node, begun)
        row = np.where(self._starts, finished + self._first_row, row)
        return self._rows.keep(state, row)

    def advance(self, state: Any, token: int) -> Any:
        """As `Scorer`."""
        context, node, begun = state
        if self._starts[token]:
            _, context = self._completed(context, node, begun)
            node, begun = 0, False
        if not self._adds[token]:
            return (context, node, begun)
        return (context, self._trie.walk(node, self._texts[token]) if node >= 0 else -1, True)

    def finish(self, state: Any) -> float:
        """As `Scorer`."""
        context, node, begun = state
        value, context = self._completed(context, node, begun)
        return value + self.weight * self.model.score(context, 2)


class SumScorer:
    """Several scorers at once.

    Args:
        parts: At least one.
    """

    def __init__(self, parts: Sequence[Scorer]) -> None:
        self.parts = tuple(parts)
        self._rows = StateRows()

    def start(self) -> Any:
        """As `Scorer`."""
        return tuple(part.start() for part in self.parts)

    def row(self, state: Any) -> np.ndarray:
        """As `Scorer`."""
        known = self._rows.known.get(state)
        if known is not None:
            return known
        rows = [part.row(one) for part, one in zip(self.parts, state, strict=True)]
        return self._rows.keep(state, np.sum(rows, axis=0))

    def advance(self, state: Any, token: int) -> Any:
        """As `Scorer`."""
        return tuple(part.advance(one, token) for part, one in zip(self.parts, state, strict=True))

    def finish(self, state: Any) -> float:
        """As `Scorer`."""
        return sum(part.finish(one) for part, one in zip(self.parts, state, strict=True))
