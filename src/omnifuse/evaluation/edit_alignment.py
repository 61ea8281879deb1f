"""What differs between two texts, word by word or character by character: hits, substitutions, deletions, insertions.

References: Levenshtein 1966 (the alignment with the fewest edits).

Shapes: N words of a reference, M words of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omnifuse.errors import InputError

# Of the table of an alignment, one byte each
MAX_CELLS = 50_000_000

HIT, SUBSTITUTION, DELETION, INSERTION = "hit", "substitution", "deletion", "insertion"


@dataclass(frozen=True)
class Edit:
    """One step of an alignment: what was said and what was written; None where there is nothing."""

    kind: str
    reference: str | None
    answer: str | None


@dataclass(frozen=True)
class ErrorCounts:
    """Words (or characters) of some utterances by how they were answered."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Words of the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float | None:
        """Errors over words; None without words."""
        return self.errors / self.length if self.length else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        """Both together."""
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def align_words(reference: Sequence[str], answer: Sequence[str]) -> list[Edit]:
    """The alignment with the fewest errors; of several the one with the most substitutions.

    Args:
        reference: What was said, as words or characters.
        answer: What was written.

    Raises:
        InputError: Both are so long that the table would not fit into memory.

    Example:
        >>> [edit.kind for edit in align_words("a b c".split(), "a x c d".split())]
        ['hit', 'substitution', 'hit', 'insertion']
    """
    steps = _table(reference, answer)
    edits = []
    one, two = len(reference), len(answer)
    while one or two:
        step = steps[one, two]
        if step == 0:
            one, two = one - 1, two - 1
            same = reference[one] == answer[two]
            edits.append(Edit(HIT if same else SUBSTITUTION, reference[one], answer[two]))
        elif step == 1:
            one -= 1
            edits.append(Edit(DELETION, reference[one], None))
        else:
            two -= 1
            edits.append(Edit(INSERTION, None, answer[two]))
    return edits[::-1]


def _table(reference: Sequence[str], answer: Sequence[str]) -> np.ndarray:
    """int8 (N + 1, M + 1): the last step of the best way to each place: 0 both, 1 deletion, 2 insertion."""
    if (len(reference) + 1) * (len(answer) + 1) > MAX_CELLS:
        raise InputError(
            f"texts of {len(reference):,} and {len(answer):,} words or characters are too long to be compared",
            fix="Cut them into utterances",
        )
    codes = {word: number for number, word in enumerate(dict.fromkeys([*reference, *answer]))}
    ours = np.array([codes[word] for word in answer], np.int64)
    columns = np.arange(len(answer) + 1)
    steps = np.full((len(reference) + 1, len(answer) + 1), 2, np.int8)
    steps[1:, 0] = 1
    cost = columns.copy()
    for row, word in enumerate(reference, start=1):
        both = cost[:-1] + (ours != codes[word])
        deleted = cost + 1
        best = deleted.copy()
        best[1:] = np.minimum(best[1:], both)
        # Insertions one after another: the least of all earlier places plus the way from there
        cost = np.minimum.accumulate(best - columns) + columns
        found = np.where(cost[1:] == both, 0, np.where(cost[1:] == deleted[1:], 1, 2))
        steps[row, 1:] = found
    return steps


def count_errors(reference: Sequence[str], answer: Sequence[str]) -> ErrorCounts:
    """Hits, substitutions, deletions and insertions of the alignment of `align_words`."""
    if list(reference) == list(answer):
        return ErrorCounts(hits=len(reference))
    kinds = [edit.kind for edit in align_words(reference, answer)]
    return ErrorCounts(*(kinds.count(kind) for kind in (HIT, SUBSTITUTION, DELETION, INSERTION)))
