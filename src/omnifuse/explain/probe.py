"""What an explanation asks of a model: one row again and again, with fields hidden or one field changed.

Shapes: S rows asked, M inputs of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from omnifuse.data.pack import Pack
from omnifuse.readout.raw import RawOutputs

Arrays = Mapping[str, np.ndarray]
# So many forms of a row go through a network at once
ROWS_AT_ONCE = 128


class Probe(Protocol):
    """One row behind its encoders, each of which has run once."""

    def subsets(self, shown: np.ndarray) -> RawOutputs:
        """The row with only some of its fields.

        Args:
            shown: (S, M) bool, in the order of the model's inputs: the fields that stay. A field that the row lacks
                stays absent.

        Returns:
            S rows.
        """

    def variants(self, name: str, pack: Pack) -> RawOutputs:
        """The row with other cells in one field.

        Args:
            name: The input.
            pack: S rows of it, some of which may be absent.

        Returns:
            S rows; all other fields are those of the row.
        """


def packed(rows: Sequence[Arrays | None], like: Arrays) -> Pack:
    """Rows of one input end to end; None is an absent row.

    Args:
        rows: Arrays of each row.
        like: Arrays of some row, for names and widths where all are absent.
    """
    lengths = [0 if row is None else len(next(iter(row.values()))) for row in rows]
    there = [row for row in rows if row is not None]
    arrays = {
        name: np.concatenate([row[name] for row in there]) if there else array[:0] for name, array in like.items()
    }
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Pack(arrays, offsets, np.array([row is not None for row in rows], bool))
