"""Shallow heads: models of fixed features, fitted at once, that stand beside the network's heads."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from omnifuse.schema import Modality, TaskKind
from omnifuse.tasks.forest import ForestHead
from omnifuse.tasks.kernel import KernelHead
from omnifuse.tasks.linear import LinearHead

# Setting to the head it builds
SHALLOW_HEADS: dict[str, type[KernelHead] | type[LinearHead] | type[ForestHead]] = {
    "kernel": KernelHead,
    "linear": LinearHead,
    "forest": ForestHead,
}
NO_SHALLOW_HEAD = "none"
# What a line can read: cells, bags of words and statistics of series
LINEAR_MODALITIES = (Modality.TABLE, Modality.TEXT, Modality.SERIES)


def shallow_names(setting: str) -> tuple[str, ...]:
    """Names of the heads of a setting.

    Example:
        >>> shallow_names("kernel+forest"), shallow_names("none")
        (('kernel', 'forest'), ())
    """
    return () if setting == NO_SHALLOW_HEAD else tuple(dict.fromkeys(setting.split("+")))


def readable_widths(
    shallow: str, encoders: Mapping[str, nn.Module], modalities: Mapping[str, Modality]
) -> dict[str, int]:
    """Fields that a shallow head reads, each with the width of its encoder's summary.

    Args:
        shallow: Name in `SHALLOW_HEADS`.
        encoders: Field to its encoder; one without `summary_dim` gives no summary.
        modalities: Field to its modality.
    """
    found = {name: int(getattr(encoder, "summary_dim", 0)) for name, encoder in encoders.items()}
    if shallow == "linear":
        found = {name: width for name, width in found.items() if modalities[name] in LINEAR_MODALITIES}
    return {name: width for name, width in found.items() if width}


def thumbnail_widths(encoders: Mapping[str, nn.Module]) -> dict[str, int]:
    """Fields whose summary begins with a thumbnail, each with the width of it."""
    found = {name: int(getattr(encoder, "thumbnail_dim", 0)) for name, encoder in encoders.items()}
    return {name: width for name, width in found.items() if width}


def build_shallow(
    shallow: str, widths: Mapping[str, int], num_outputs: int, kind: TaskKind, thumbnails: Mapping[str, int]
) -> KernelHead | LinearHead | ForestHead:
    """A shallow head by name.

    Args:
        shallow: Name in `SHALLOW_HEADS`.
        widths: Field to the width of its summary.
        num_outputs: Of the task.
        kind: Of the task.
        thumbnails: See `thumbnail_widths`.
    """
    if shallow == "forest":
        return ForestHead(widths, num_outputs, kind, thumbnails)
    return SHALLOW_HEADS[shallow](widths, num_outputs, kind)
