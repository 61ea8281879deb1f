"""Prefix tree of words: which words may still come of the characters seen, and how probable the best of them is.

Pieces of a tokenizer cut words anywhere, so the tree is walked by characters; which pieces lead on from a node is found
by walking the tree of words and the tree of pieces together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np


class PieceTree:
    """Prefix tree of pieces, to be walked together with another tree.

    Args:
        texts: Of each id the characters that the piece adds; empty ones are left out.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.ends: list[list[int]] = [[]]
        for index, text in enumerate(texts):
            if not text:
                continue
            node = 0
            for character in text:
                following = self.children[node].get(character)
                if following is None:
                    following = self.children[node][character] = len(self.children)
                    self.children.append({})
                    self.ends.append([])
                node = following
            self.ends[node].append(index)


class WordTrie:
    """Prefix tree of words with the best logarithm below each node.

    Args:
        words: Word to its number and the logarithm of its probability; empty words are left out.

    Attributes:
        best: float64 (N,) of each node the highest logarithm of the words that go through it. Node 0 is the root.
        word: Of each node the number of the word that ends there, or -1.

    Example:
        >>> trie = WordTrie({"car": (3, -1.0), "cat": (4, -2.0)})
        >>> trie.best[trie.walk(0, "ca")], trie.walk(0, "cu"), trie.word[trie.walk(0, "cat")]
        (-1.0, -1, 4)
    """

    def __init__(self, words: Mapping[str, tuple[int, float]]) -> None:
        children: list[dict[str, int]] = [{}]
        best, ends = [-np.inf], [-1]
        for text, (number, log) in words.items():
            if not text:
                continue
            node = 0
            best[0] = max(best[0], log)
            for character in text:
                following = children[node].get(character)
                if following is None:
                    following = children[node][character] = len(children)
                    children.append({})
                    best.append(-np.inf)
                    ends.append(-1)
                node = following
                best[node] = max(best[node], log)
            ends[node] = number
        self.children, self.best, self.word = children, [float(value) for value in best], ends

    def walk(self, node: int, text: str) -> int:
        """The node behind some characters, -1 where no word goes on like this."""
        for character in text:
            if node < 0:
                return -1
            node = self.children[node].get(character, -1)
        return node

    def leads(self, node: int, pieces: PieceTree) -> Iterator[tuple[int, int]]:
        """Ids of the pieces that lead on from a node, with the node behind each."""
        open_pairs = [(node, 0)]
        while open_pairs:
            ours, theirs = open_pairs.pop()
            yield from ((index, ours) for index in pieces.ends[theirs])
            mine, other = self.children[ours], pieces.children[theirs]
            fewer = mine if len(mine) < len(other) else other
            open_pairs.extend((mine[one], other[one]) for one in fewer if one in mine and one in other)
