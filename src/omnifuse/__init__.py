"""omnifuse: learn one model from a table of anything, with holes.

Example:
    >>> import omnifuse
    >>> sorted(name for name in omnifuse.__all__ if name.islower())
    ['fit', 'generate_rooms', 'generate_world', 'inspect', 'load', 'open_table', 'pretrain']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ArtefactError": "omnifuse.errors",
    "InputError": "omnifuse.errors",
    "MediaError": "omnifuse.errors",
    "MissingDependencyError": "omnifuse.errors",
    "OmnifuseError": "omnifuse.errors",
    "Modality": "omnifuse.schema",
    "Prediction": "omnifuse.schema",
    "Schema": "omnifuse.schema",
    "TargetPrediction": "omnifuse.schema",
    "Index": "omnifuse.search",
    "Model": "omnifuse.api",
    "fit": "omnifuse.api",
    "inspect": "omnifuse.api",
    "load": "omnifuse.api",
    "pretrain": "omnifuse.api",
    "open_table": "omnifuse.data.tables",
    "generate_rooms": "omnifuse.data.rooms",
    "generate_world": "omnifuse.data.worlds",
}
__all__ = [
    "ArtefactError",
    "Index",
    "InputError",
    "MediaError",
    "MissingDependencyError",
    "Modality",
    "Model",
    "OmnifuseError",
    "Prediction",
    "Schema",
    "TargetPrediction",
    "fit",
    "generate_rooms",
    "generate_world",
    "inspect",
    "load",
    "open_table",
    "pretrain",
]

if TYPE_CHECKING:
    from omnifuse.api import Model, fit, inspect, load, pretrain
    from omnifuse.data.rooms import generate_rooms
    from omnifuse.data.tables import open_table
    from omnifuse.data.worlds import generate_world
    from omnifuse.errors import ArtefactError, InputError, MediaError, MissingDependencyError, OmnifuseError
    from omnifuse.schema import Modality, Prediction, Schema, TargetPrediction
    from omnifuse.search import Index


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing omnifuse stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'omnifuse' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
