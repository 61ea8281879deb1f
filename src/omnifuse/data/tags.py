"""Cells that hold a set of tags: a known level each, rare and unknown ones together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from omnifuse.data.targets import tag_texts
from omnifuse.errors import InputError

UNKNOWN_TAG = 0
EMPTY_SET = 1
_FIRST_TAG = 2
MOST_TAGS_A_CELL = 256


@dataclass(frozen=True)
class TagsPreprocessor:
    """Turn sets of tags into ids.

    A cell is a list, tuple or set, or a text separated by "|", ";" or ","; the same tag twice counts once, and the
    order means nothing.

    Args:
        tags: Known tags; tag `tags[i]` has the id i + 2. Id 0 stands for a tag that is rare or not known, id 1 for a
            set without any tag.
    """

    tags: tuple[str, ...] = ()

    kind: ClassVar[str] = "tags"

    @classmethod
    def fit(cls, cells: Iterable[Any], *, min_count: int = 2, max_tags: int = 10_000) -> TagsPreprocessor:
        """Learn the tags of training cells.

        Args:
            cells: Training cells; None is skipped.
            min_count: A tag in fewer cells is rare.
            max_tags: Most tags that are told apart, the frequent ones.

        Raises:
            InputError: An option is out of its limits.
        """
        if min_count < 1 or max_tags < 1:
            raise InputError(f"min_count {min_count} and max_tags {max_tags} must be at least 1")
        counts = Counter(tag for cell in cells for tag in tag_texts(cell) or ())
        frequent = sorted((tag for tag, count in counts.items() if count >= min_count), key=lambda tag: -counts[tag])
        return cls(tuple(sorted(frequent[:max_tags])))

    @property
    def num_ids(self) -> int:
        """Number of ids: unknown, empty and each known tag."""
        return len(self.tags) + _FIRST_TAG

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {tag: number + _FIRST_TAG for number, tag in enumerate(self.tags)}

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """Ids of one set.

        Args:
            value: A cell that is not missing.

        Returns:
            ``tags`` int32 (L,) in rising order, 1 <= L <= 256.

        Raises:
            InputError: The cell holds more than 256 tags.
        """
        texts = tag_texts(value) or ()
        if len(texts) > MOST_TAGS_A_CELL:
            raise InputError(
                f"a cell holds {len(texts)} tags", fix=f"At most {MOST_TAGS_A_CELL} are read; is it a text?"
            )
        ids = sorted({self._ids.get(text, UNKNOWN_TAG) for text in texts}) or [EMPTY_SET]
        return {"tags": np.asarray(ids, dtype=np.int32)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"tags": np.zeros(0, np.int32)}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "tags": list(self.tags)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TagsPreprocessor:
        """Inverse of `to_json`."""
        return cls(tuple(str(tag) for tag in data["tags"]))
