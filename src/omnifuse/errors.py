"""Every error a user can meet: what happened, where, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OmnifuseError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        parts = [what.rstrip(".")] + ([where.rstrip(".")] if where else []) + ([fix.rstrip(".")] if fix else [])
        super().__init__(". ".join(parts) + ".")


class InputError(OmnifuseError):
    """The table, option or value given by the user is wrong."""

    exit_code = 2


class MediaError(InputError):
    """One medium (picture, sound, ...) is refused or cannot be read; its row is still answered."""


class ArtefactError(InputError):
    """A run folder, checkpoint or model file is damaged, foreign or of another version."""


class MissingDependencyError(OmnifuseError):
    """The environment lacks something that this job needs."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the closest known name.

    Args:
        word: What was received.
        known: The names that would have been accepted.

    Returns:
        A sentence such as ``did you mean 'label'?`` followed by the known names (at most 12).

    Example:
        >>> did_you_mean("lable", ["label", "image"])
        "did you mean 'label'? Known: label, image"
    """
    names = [str(name) for name in known]
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return (f"did you mean '{close[0]}'? " if close else "") + f"Known: {listed}"
