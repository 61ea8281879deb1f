"""What decoding a medium gives: its arrays, and remarks on what was changed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

CUT, REPAIRED, PARTLY = "cut_media", "repaired_media", "partly_read_media"
# Of series alone: times in disorder, a change of unit, values that are no numbers
TIME_ORDER, UNIT_JUMP, UNREAD = "time_order", "unit_jump", "unread_values"
SERIES_WORDS = {
    TIME_ORDER: "have times that are out of order, repeated, unreadable or with gaps",
    UNIT_JUMP: "have values that become many times larger or smaller",
    UNREAD: "hold values that are no numbers, or channels that are not known",
}


class DecodedMedium(dict[str, np.ndarray]):
    """Arrays of one medium by name.

    Args:
        arrays: Array name to array.
        remarks: Kind (`CUT`, `REPAIRED` ...) and sentence of each thing that was left out or changed. They speak of the
            content alone, so that files of the same content can share them.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], remarks: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(arrays)
        self.remarks = tuple((str(kind), str(text)) for kind, text in remarks)
