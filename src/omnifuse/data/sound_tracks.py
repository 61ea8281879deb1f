"""The sound track of a video column as a field of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np

from omnifuse.errors import MediaError
from omnifuse.schema import Field, Modality

_SAMPLED = 32
SUFFIX = "_sound"


class Headers(Protocol):
    """What is needed of the media door."""

    def video_info(self, cell: Any) -> Any:
        """Header of a video, with `has_sound`."""
        ...


def with_sound_tracks(
    found: Sequence[Field], table: Any, *, door: Headers, names: Collection[str]
) -> tuple[Field, ...]:
    """The fields, each video column followed by its sound where a sampled video has a track.

    Args:
        found: Fields of the columns.
        table: Anything with ``cells(column)``.
        door: Opens videos.
        names: Names that are taken: those of all columns.

    Returns:
        The fields; the sound of ``clip`` is named ``clip_sound``.
    """
    fields: list[Field] = []
    for item in found:
        fields.append(item)
        if item.modality is Modality.VIDEO:
            num_sounds, num_read = _count_sounds(table.cells(item.name), door)
            if num_sounds:
                missing = 1 - (1 - item.missing) * num_sounds / num_read
                reason = f"the sound track that {num_sounds} of {num_read} videos looked at in '{item.name}' have"
                taken = {*names, *(field.name for field in fields)}
                fields.append(Field(sound_name(item.name, taken), Modality.AUDIO, reason, missing, column=item.name))
    return tuple(fields)


def sound_name(column: str, taken: Collection[str]) -> str:
    """Name of the sound of a video column.

    Example:
        >>> sound_name("clip", ["clip"]), sound_name("clip", ["clip", "clip_sound"])
        ('clip_sound', 'clip_sound_')
    """
    name = column + SUFFIX
    while name in taken:
        name += "_"
    return name


def _count_sounds(cells: list[Any], door: Headers) -> tuple[int, int]:
    """How many of some videos have a sound track, and how many could be opened."""
    known = [cell for cell in cells if cell is not None]
    places = np.unique(np.linspace(0, max(len(known) - 1, 0), _SAMPLED).astype(np.int64))[: len(known)]
    sounds = []
    for place in places.tolist():
        try:
            sounds.append(bool(door.video_info(known[place]).has_sound))
        except MediaError:
            continue
    return sum(sounds), len(sounds)
