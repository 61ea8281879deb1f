"""What decoding a medium gives: its arrays, and remarks on what was changed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

CUT, REPAIRED, PARTLY = "cut_media", "repaired_media", "partly_read_media"


class DecodedMedium(dict[str, np.ndarray]):
    """Arrays of one medium by name.

    Args:
        arrays: Array name to array.
        remarks: Kind (`CUT` or `REPAIRED`) and sentence of each thing that was left out or changed. They speak of the
            content alone, so that files of the same content can share them.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], remarks: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(arrays)
        self.remarks = tuple((str(kind), str(text)) for kind, text in remarks)
